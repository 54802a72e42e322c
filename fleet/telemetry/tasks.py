"""What is kept, and for how long."""

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from fleet.audit.models import Event, Signal
from fleet.celery import app
from fleet.gateway.models import Rejected
from fleet.jobs.models import JobLine
from fleet.telemetry.models import Sample

SLICE = 5000
SLICES = 20


@app.task
def retention() -> None:
    """Delete what is too old, in slices, so that no writer waits long."""
    now = timezone.now()
    drop(Sample.objects.filter(at__lt=now - timedelta(days=settings.SAMPLE_RETENTION_DAYS)))
    drop(Signal.objects.filter(at__lt=now - timedelta(minutes=2)))
    drop(Rejected.objects.filter(at__lt=now - timedelta(days=7)))
    drop(JobLine.objects.filter(at__lt=now - timedelta(days=90)))
    drop(Event.objects.filter(at__lt=now - timedelta(days=365)))


def drop(rows) -> int:
    """Delete at most SLICES slices; the next run goes on."""
    total = 0
    for _ in range(SLICES):
        with transaction.atomic():
            ids = list(rows.order_by("pk").values_list("pk", flat=True)[:SLICE])
            if ids:
                rows.model._base_manager.filter(pk__in=ids).delete()
        total += len(ids)
        if len(ids) < SLICE:
            break
    return total
