"""Say what happened (`record`), and tell open pages to look again (`announce`)."""

from collections.abc import Iterable

from django.contrib.auth.models import AnonymousUser

from fleet.audit import wake
from fleet.audit.models import Event, Signal


def record(kind: str, text: str, *, level: str = "info", detail: str = "", actor=None, **subjects) -> Event:
    """Store one event. subjects: device, rollout, version, job; open pages of each, and the overview, hear of it."""
    if isinstance(actor, AnonymousUser):
        actor = None
    event = Event.objects.create(kind=kind, text=text[:500], level=level, detail=detail[:1000], actor=actor, **subjects)
    announce("fleet", *(f"{name}:{subject.pk}" for name, subject in subjects.items() if subject is not None))
    return event


def record_many(events: Iterable[Event]) -> None:
    """Store many events in one statement; the caller announces."""
    Event.objects.bulk_create(list(events), batch_size=500)


def announce(*topics: str) -> None:
    """Tell open pages that `fleet`, `device:<id>`, `rollout:<id>`, `job:<id>`, `version:<id>` or `groups` changed.

    `samples:<id>` are a device's samples, `device:<id>` is all else about it.
    """
    if topics:
        Signal.objects.create(topics=sorted(set(topics)))
        wake.knock()
