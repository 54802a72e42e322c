"""Whether a device is there: computed from its last message and its last will, never stored."""

from datetime import datetime, timedelta
from enum import StrEnum

from django.conf import settings
from django.db.models import Q, QuerySet


class Liveness(StrEnum):
    ONLINE = "online"
    SILENT = "silent"
    OFFLINE = "offline"
    NEVER = "never"


def _cut(now: datetime) -> datetime:
    return now - timedelta(seconds=settings.OFFLINE_AFTER_SECONDS)


def liveness(online: bool, last_seen: datetime | None, sample_at: datetime | None, now: datetime) -> Liveness:
    """never: no message yet. offline: said goodbye (or its will did), or nothing for too long.

    silent: the link is up but no telemetry came for that long.
    """
    if last_seen is None:
        return Liveness.NEVER
    if not online or last_seen < _cut(now):
        return Liveness.OFFLINE
    if sample_at is None or sample_at < _cut(now):
        return Liveness.SILENT
    return Liveness.ONLINE


def link_up(now: datetime, prefix: str = "") -> Q:
    """The device's link is up, with or without telemetry; prefix leads to it, as in `device__`."""
    return Q(**{f"{prefix}online": True, f"{prefix}last_seen__gte": _cut(now)})


def query(word: Liveness, now: datetime) -> Q:
    """The same rule as a condition on devices."""
    cut = _cut(now)
    there = link_up(now)
    fresh = Q(sample_at__gte=cut)
    return {
        Liveness.NEVER: Q(last_seen=None),
        Liveness.OFFLINE: Q(last_seen__isnull=False) & ~there,
        Liveness.SILENT: there & (Q(sample_at=None) | ~fresh),
        Liveness.ONLINE: there & fresh,
    }[word]


def passed(then: datetime, now: datetime) -> Q:
    """Devices whose liveness has changed from `then` to `now` by nothing but the time that passed."""
    between = (_cut(then), _cut(now))
    fell = [Q(**{f"{of}__gt": between[0], f"{of}__lte": between[1]}) for of in ("last_seen", "sample_at")]
    return Q(online=True, retired_at=None) & (fell[0] | fell[1])


def filter_by(queryset: QuerySet, word: Liveness, now: datetime) -> QuerySet:
    return queryset.filter(query(word, now))


def ago(then: datetime, now: datetime) -> str:
    """`3 h ago`, in the largest unit that leaves a number of at least 1."""
    seconds = max(0, int((now - then).total_seconds()))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
