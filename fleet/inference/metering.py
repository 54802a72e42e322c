"""Counts who asked how much, in memory; `write` stores the totals that changed, one statement for all devices."""

import secrets
from collections import defaultdict
from datetime import UTC, datetime

from fleet.audit.services import announce
from fleet.inference.models import REASONS, WITHIN_MS, Usage

_NUMBERS = tuple(
    field.name
    for field in Usage._meta.concrete_fields
    if field.name not in ("id", "device", "hour", "process", "last_at")
)


class Meter:
    """The counters of this process. Lives on the event loop; `write` runs elsewhere, with copies that `take` made."""

    def __init__(self) -> None:
        self.process = secrets.token_hex(8)
        self._rows: dict[tuple[str, datetime], Usage] = {}
        self._dirty: set[tuple[str, datetime]] = set()
        self._today: dict[str, int] = defaultdict(int)
        self._day = datetime.min.replace(tzinfo=UTC).date()

    def answered(self, device: str, received: int, sent: int, milliseconds: float, now: datetime) -> None:
        row = self._row(device, received, now)
        row.answered += 1
        row.bytes_out += sent
        row.milliseconds += milliseconds
        row.slowest = max(row.slowest, milliseconds)
        for limit in WITHIN_MS:
            if milliseconds <= limit:
                setattr(row, f"within_{limit}", getattr(row, f"within_{limit}") + 1)

    def refused(self, device: str, reason: str, received: int, now: datetime) -> None:
        name = f"refused_{reason if reason in REASONS else 'request'}"
        row = self._row(device, received, now)
        setattr(row, name, getattr(row, name) + 1)

    def today(self, device: str, now: datetime) -> int:
        """Bytes that this process had of a device today; of all devices for an empty id."""
        self._roll(now)
        return self._today[device]

    def take(self) -> list[Usage]:
        """The rows that changed since the last time."""
        taken = [self._copy(self._rows[key]) for key in self._dirty]
        self._dirty.clear()
        latest = max((hour for _, hour in self._rows), default=None)
        for key in [key for key in self._rows if key[1] != latest]:
            del self._rows[key]  # its hour is over, and it was just taken
        return taken

    def _row(self, device: str, received: int, now: datetime) -> Usage:
        self._roll(now)
        key = (device, now.replace(minute=0, second=0, microsecond=0))
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = Usage(device=device, hour=key[1], process=self.process)
        row.requests += 1
        row.bytes_in += received
        row.last_at = now
        self._today[device] += received
        if device:
            self._today[""] += received
        self._dirty.add(key)
        return row

    def _roll(self, now: datetime) -> None:
        if now.date() != self._day:
            self._day = now.date()
            self._today.clear()

    @staticmethod
    def _copy(row: Usage) -> Usage:
        return Usage(
            device=row.device,
            hour=row.hour,
            process=row.process,
            last_at=row.last_at,
            **{name: getattr(row, name) for name in _NUMBERS},
        )


def write(rows: list[Usage]) -> None:
    """Store the totals over what was there of them, and tell the open pages."""
    if not rows:
        return
    Usage.objects.bulk_create(
        rows,
        batch_size=500,
        update_conflicts=True,
        unique_fields=["device", "hour", "process"],
        update_fields=[*_NUMBERS, "last_at"],
    )
    announce("inference")
