"""The event log."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy

from fleet.audit.models import Event
from fleet.dashboard import listing

#: What a kind begins with (`rollout.started`), as people call it.
KINDS = {
    "device": gettext_lazy("devices"),
    "enrollment_token": gettext_lazy("enrollment"),
    "group": gettext_lazy("groups"),
    "version": gettext_lazy("uploads"),
    "release": gettext_lazy("releases"),
    "job": gettext_lazy("jobs"),
    "rollout": gettext_lazy("rollouts"),
    "command": gettext_lazy("commands"),
    "alert": gettext_lazy("alerts"),
    "alert_rule": gettext_lazy("alert rules"),
    "silence": gettext_lazy("silences"),
    "channel": gettext_lazy("channels"),
    "person": gettext_lazy("people"),
    "api_token": gettext_lazy("API tokens"),
}
LEVELS = tuple(value for value, _ in Event.LEVELS)
PER_PAGE = 100


@dataclass(frozen=True, slots=True)
class EventList:
    """One page of the log, newest first; `older` is where the next page begins, None at the end."""

    events: list[Event]
    older: int | None
    state: listing.State
    q: str
    kind: str
    level: str
    filtered: bool


def with_subjects(events: QuerySet[Event]) -> QuerySet[Event]:
    """Everything that a line about an event names, in one query."""
    return events.select_related("actor", "device", "rollout", "version__model", "job")


def recent(count: int, **subject: object) -> list[Event]:
    """The newest of a subject, or of the whole fleet: there, devices that start anew would hide everything else."""
    rows = Event.objects.filter(**subject) if subject else Event.objects.exclude(kind="device.booted")
    return list(with_subjects(rows)[:count])


def _filters(params: Mapping[str, str]) -> tuple[str, str, str]:
    """q, kind and level."""
    return (
        listing.text(params, "q"),
        listing.choice(params, "kind", tuple(KINDS)),
        listing.choice(params, "level", LEVELS),
    )


def found(params: Mapping[str, str]) -> QuerySet[Event]:
    q, kind, level = _filters(params)
    rows = Event.objects.all()
    if q:
        rows = rows.filter(
            Q(text__icontains=q) | Q(detail__icontains=q) | Q(device__name__icontains=q) | Q(actor__username__iexact=q)
        )
    if kind:
        rows = rows.filter(kind__startswith=f"{kind}.")
    return rows.filter(level=level) if level else rows


def event_list(params: Mapping[str, str]) -> EventList:
    q, kind, level = _filters(params)
    before = listing.number(params, "before", 0)
    rows = found(params)
    if before:
        rows = rows.filter(id__lt=before)
    # By number and not by page: rows are added while somebody reads.
    events = list(with_subjects(rows)[: PER_PAGE + 1])
    older = events[PER_PAGE - 1].pk if len(events) > PER_PAGE else None
    state = listing.State({"q": q, "kind": kind, "level": level})
    return EventList(events[:PER_PAGE], older, state, q, kind, level, bool(q or kind or level))
