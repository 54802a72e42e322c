"""What is too old goes, in slices; what is not stays."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from agent.wire.messages import Sample as WireSample
from agent.wire.messages import Telemetry
from fleet.audit.models import Event, Signal
from fleet.gateway.models import Rejected
from fleet.telemetry import ingest, store, tasks
from fleet.telemetry.models import DeviceHour, DeviceMinute, FleetHour, FleetMinute, Sample
from fleet.telemetry.summing import take_up_all

pytestmark = pytest.mark.django_db


def test_old_rows_go_and_young_ones_stay(device, settings):
    now = timezone.now()
    for days in (settings.SAMPLE_DAYS + 2, 1, 0):  # as they came
        at = now - timedelta(days=days)
        Sample.objects.create(device=device, at=at, received_at=at, boot_id="b", seq=days)
    Signal.objects.create(topics=["fleet"], at=now - timedelta(minutes=5))
    Signal.objects.create(topics=["fleet"])
    Event.objects.create(kind="a.b", text="old", at=now - timedelta(days=400))
    tasks.retention()
    assert list(Sample.objects.order_by("seq").values_list("seq", flat=True)) == [0, 1]
    assert (Signal.objects.count(), Event.objects.count()) == (1, 0)


def test_each_resolution_is_kept_for_as_long_as_the_settings_say(device, settings):
    now = timezone.now()
    for days in (0, settings.SAMPLE_DAYS + 1, settings.MINUTE_DAYS + 1, settings.HOUR_DAYS + 1):
        sample = WireSample(seq=days, at=(now - timedelta(days=days)).timestamp())
        with transaction.atomic():
            store.add([(device.pk, "b", sample)], now)
    take_up_all()
    tasks.retention()
    assert [model.objects.count() for model in (DeviceMinute, FleetMinute)] == [2, 2]
    assert [model.objects.count() for model in (DeviceHour, FleetHour)] == [3, 3]


def test_a_sample_of_a_clock_that_was_ahead_counts_once_however_late_it_comes_again(device, settings):
    now = timezone.now()
    came = now - timedelta(days=settings.SAMPLE_DAYS + 0.9)
    sample = WireSample(seq=1, at=(came + timedelta(days=0.95)).timestamp(), decisions=5)
    body = Telemetry(boot_id="b", samples=(sample,))
    for moment in (came, now):
        with transaction.atomic():
            outcome = ingest.telemetry([(device.pk, body)], moment)
        take_up_all()
        tasks.retention()
    assert (outcome.samples, outcome.repeated, outcome.refused) == (0, 1, [])
    assert DeviceMinute.objects.get().decisions == 5


def test_rejected_messages_are_bounded_in_number(monkeypatch, db):
    monkeypatch.setattr(tasks, "REJECTED", 5)
    Rejected.objects.bulk_create(Rejected(topic="t", reason=str(n)) for n in range(20))
    tasks.retention()
    assert sorted(Rejected.objects.values_list("reason", flat=True)) == ["15", "16", "17", "18", "19"]


def test_a_run_deletes_no_more_than_its_slices(device, monkeypatch):
    monkeypatch.setattr(tasks, "SLICE", 2)
    monkeypatch.setattr(tasks, "SLICES", 3)
    old = timezone.now() - timedelta(days=100)
    Sample.objects.bulk_create(Sample(device=device, at=old, received_at=old, boot_id="b", seq=n) for n in range(10))
    assert tasks.drop(Sample.objects.filter(at__lt=timezone.now())) == 6
    assert tasks.drop_received(Sample.objects.all(), timezone.now() - timedelta(days=200)) == 0
    assert Sample.objects.count() == 4
    assert tasks.drop_received(Sample.objects.all(), timezone.now()) == 4
