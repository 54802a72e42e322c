"""What is kept, and for how long."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from fleet.audit.models import Event, Signal
from fleet.celery import app
from fleet.gateway.models import Rejected
from fleet.inference.models import Usage
from fleet.jobs.models import JobLine
from fleet.telemetry.ingest import AHEAD
from fleet.telemetry.models import DeviceHour, DeviceMinute, FleetHour, FleetMinute, Sample

#: Rows that go in one transaction, and transactions of one run: no writer waits long, and a run ends before the next.
SLICE = 5000
SLICES = 300
RUN_SECONDS = 40.0
#: Rejected messages that are kept; beyond it the oldest go.
REJECTED = 10_000


@app.task
def retention() -> None:
    """Delete what is too old, in slices."""
    now = timezone.now()
    # For as long as a sample is taken again, also from a clock that was ahead: what is known here counts once.
    drop_received(Sample.objects.all(), now - timedelta(days=settings.SAMPLE_DAYS) - AHEAD)
    for models, days in (
        ((DeviceMinute, FleetMinute), settings.MINUTE_DAYS),
        ((DeviceHour, FleetHour), settings.HOUR_DAYS),
    ):
        for model in models:
            drop(model.objects.filter(start__lt=int((now - timedelta(days=days)).timestamp())), "start")
    drop(Signal.objects.filter(at__lt=now - timedelta(minutes=2)))
    drop(Rejected.objects.filter(at__lt=now - timedelta(days=7)))
    last = Rejected.objects.order_by("-id").values_list("id", flat=True)[REJECTED : REJECTED + 1]
    drop(Rejected.objects.filter(id__lte=next(iter(last), 0)))
    drop(Usage.objects.filter(hour__lt=now - timedelta(days=settings.INFERENCE_USAGE_DAYS)))
    drop(JobLine.objects.filter(at__lt=now - timedelta(days=90)))
    drop(Event.objects.filter(at__lt=now - timedelta(days=365)))


def drop(rows, order: str = "pk") -> int:
    """Delete at most SLICES slices; the next run goes on."""

    def some() -> int:
        ids = list(rows.order_by(order).values_list("pk", flat=True)[:SLICE])
        if ids:
            rows.model._base_manager.filter(pk__in=ids).delete()
        return len(ids)

    return _in_slices(some)


def drop_received(rows, before: datetime) -> int:
    """The same for rows that stand in the order in which they were received: no index on the time is needed."""

    def some() -> int:
        first = rows.order_by("pk").values_list("pk", "received_at")[:SLICE]
        old = [pk for pk, received in first if received < before]
        if old:
            rows.filter(pk__lte=old[-1]).delete()
        return len(old)

    return _in_slices(some)


def _in_slices(some: Callable[[], int]) -> int:
    total, end = 0, time.monotonic() + RUN_SECONDS
    for _ in range(SLICES):
        with transaction.atomic():
            gone = some()
        total += gone
        if gone < SLICE or time.monotonic() > end:
            break
    return total
