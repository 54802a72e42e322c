"""The event log."""

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import Q, QuerySet

from fleet.audit.models import Event
from fleet.dashboard import listing

#: What a kind begins with (`rollout.started`), as people call it.
KINDS = {
    "device": "devices",
    "enrollment_token": "enrollment",
    "group": "groups",
    "version": "uploads",
    "release": "releases",
    "job": "jobs",
    "rollout": "rollouts",
    "command": "commands",
    "person": "people",
    "api_token": "API tokens",
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
    return list(with_subjects(Event.objects.filter(**subject))[:count])


def event_list(params: Mapping[str, str]) -> EventList:
    q = listing.text(params, "q")
    kind = listing.choice(params, "kind", tuple(KINDS))
    level = listing.choice(params, "level", LEVELS)
    before = listing.number(params, "before", 0)
    rows = Event.objects.all()
    if q:
        rows = rows.filter(
            Q(text__icontains=q) | Q(detail__icontains=q) | Q(device__name__icontains=q) | Q(actor__username__iexact=q)
        )
    if kind:
        rows = rows.filter(kind__startswith=f"{kind}.")
    if level:
        rows = rows.filter(level=level)
    if before:
        rows = rows.filter(id__lt=before)
    # By number and not by page: rows are added while somebody reads.
    events = list(with_subjects(rows)[: PER_PAGE + 1])
    older = events[PER_PAGE - 1].pk if len(events) > PER_PAGE else None
    state = listing.State({"q": q, "kind": kind, "level": level})
    return EventList(events[:PER_PAGE], older, state, q, kind, level, bool(q or kind or level))
