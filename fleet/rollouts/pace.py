"""How many devices may be told now, and where it is time: pure functions of a clock."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fleet.errors import Refused

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: A rollout that stood still (paused, its worker away) makes up for no more than this.
CATCH_UP = timedelta(seconds=10)


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The time zone of that name (`Europe/Berlin`). Raises Refused."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Refused(f"There is no time zone called {name!r}; names are as in Europe/Berlin or UTC.") from None


@dataclass(frozen=True, slots=True)
class Window:
    """A maintenance window by the clock on the wall. One that ends before it starts goes past midnight.

    days are those on which it starts, 0 for Monday; none is every day.
    """

    start: time
    end: time
    days: frozenset[int] = frozenset()

    def check(self) -> None:
        if self.start == self.end:
            raise Refused("The maintenance window starts and ends at the same time.")

    def is_open(self, now: datetime, zone_name: str) -> bool:
        """Whether the window is open where the time zone is this one."""
        here = now.astimezone(zone(zone_name))
        clock = here.time().replace(tzinfo=None)
        if self.start < self.end:
            return self.start <= clock < self.end and self._on(here.weekday())
        if clock >= self.start:
            return self._on(here.weekday())
        return clock < self.end and self._on((here.weekday() - 1) % 7)

    def opens(self, now: datetime, zone_name: str) -> datetime:
        """When it is open next: now, or the coming start."""
        if self.is_open(now, zone_name):
            return now
        there = zone(zone_name)
        today = now.astimezone(there).date()
        for day in range(15):  # a week, and one more where the clock jumps over a weekly window
            for start in self._starts(today + timedelta(days=day), there):
                if start >= now and self.is_open(start, zone_name):
                    return start.astimezone(now.tzinfo)
        raise AssertionError("a window opens within two weeks")

    def _starts(self, day: date, there: ZoneInfo) -> Iterator[datetime]:
        """When the clock shows the start on that day: twice where it is put back over it, and where it is put forward
        over it, at the first moment after."""
        first, second = (datetime.combine(day, self.start, there).replace(fold=fold).astimezone(UTC) for fold in (0, 1))
        if first <= second:
            yield first
            yield second
            return
        before = second.astimezone(there).utcoffset()
        while second.astimezone(there).utcoffset() == before:
            second += timedelta(minutes=1)
        yield second

    def _on(self, weekday: int) -> bool:
        return not self.days or weekday in self.days

    def __str__(self) -> str:
        days = f" on {', '.join(DAYS[day] for day in sorted(self.days))}" if self.days else ""
        return f"{self.start:%H:%M} to {self.end:%H:%M}{days}"


def turns(per_minute: float, since: datetime | None, now: datetime, luck: float) -> tuple[int, datetime]:
    """How many devices' turns have come since `since`, and from when on to count next.

    luck, evenly from 0 to 1, moves each device's turn by up to half of its slot, so that devices that are told one by
    one do not fetch in step. On the average it is exactly per_minute.
    """
    slot = timedelta(minutes=1) / per_minute
    if since is None:
        return 1, now
    since = max(since, now - max(CATCH_UP, 2 * slot))
    number = max(0, int((now - since) / slot + luck - 0.5 + 1e-9))
    return number, since + number * slot


def longest(count: int, per_minute: float) -> timedelta:
    """How long telling `count` devices takes at that pace."""
    return timedelta(minutes=count / per_minute) if per_minute else timedelta(0)
