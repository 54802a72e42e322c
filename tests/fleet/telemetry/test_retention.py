"""What is too old goes, in slices; what is not stays."""

from datetime import timedelta

import pytest
from django.utils import timezone

from fleet.audit.models import Event, Signal
from fleet.telemetry import tasks
from fleet.telemetry.models import Sample

pytestmark = pytest.mark.django_db


def test_old_rows_go_and_young_ones_stay(device, settings):
    now = timezone.now()
    for days in (0, 1, settings.SAMPLE_RETENTION_DAYS + 1):
        at = now - timedelta(days=days)
        Sample.objects.create(device=device, at=at, received_at=at, boot_id="b", seq=days)
    Signal.objects.create(topics=["fleet"], at=now - timedelta(minutes=5))
    Signal.objects.create(topics=["fleet"])
    Event.objects.create(kind="a.b", text="old", at=now - timedelta(days=400))
    tasks.retention()
    assert list(Sample.objects.order_by("seq").values_list("seq", flat=True)) == [0, 1]
    assert (Signal.objects.count(), Event.objects.count()) == (1, 0)


def test_a_run_deletes_no_more_than_its_slices(device, monkeypatch):
    monkeypatch.setattr(tasks, "SLICE", 2)
    monkeypatch.setattr(tasks, "SLICES", 3)
    old = timezone.now() - timedelta(days=100)
    Sample.objects.bulk_create(Sample(device=device, at=old, received_at=old, boot_id="b", seq=n) for n in range(10))
    assert tasks.drop(Sample.objects.filter(at__lt=timezone.now())) == 6
    assert Sample.objects.count() == 4
