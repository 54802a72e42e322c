"""Samples are taken up once each, into roll-ups and devices, whatever happens meanwhile."""

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from fleet.audit.models import Signal
from fleet.telemetry import summing
from fleet.telemetry.models import DeviceHour, DeviceMinute, FleetMinute, Sample, Summed
from fleet.telemetry.summing import take_up
from tests.conftest import make_device
from tests.fleet.telemetry.test_store import START, add, samples

MANIFEST = "ab" * 32


def test_each_sample_is_taken_up_once(device):
    add(samples(device, [1, 2, 3]))
    assert take_up() == 3
    add(samples(device, [2, 3, 4, 5]))
    assert [take_up(), take_up()] == [2, 0]
    assert (DeviceMinute.objects.get().samples, FleetMinute.objects.get().samples) == (5, 5)


def test_it_goes_on_from_where_it_was_in_steps(device):
    add(samples(device, range(10), latency={70: 1}, decisions=1))
    taken = []
    while count := take_up(most=4):
        taken.append((count, DeviceHour.objects.get().decisions))
    assert taken == [(4, 4), (4, 8), (2, 10)]


def test_what_breaks_off_in_the_middle_is_taken_up_from_the_beginning(device, monkeypatch):
    add(samples(device, [1, 2], decisions=1))

    def dies(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(summing, "announce", dies)
        with pytest.raises(RuntimeError), transaction.atomic():
            take_up()
    assert not DeviceMinute.objects.exists()
    assert take_up() == 2
    device.refresh_from_db()
    assert (DeviceMinute.objects.get().samples, device.decisions) == (2, 2)


def test_a_device_follows_its_newest_sample_and_counts_what_its_variant_did(device):
    device.active_manifest = MANIFEST
    device.save()
    add(samples(device, [2], decisions=3, disk_total=100, disk_used=30, manifest=MANIFEST, cpu_percent=50.0))
    add(samples(device, [1], decisions=4, disk_total=100, disk_used=90))
    take_up()
    add(samples(device, [0], decisions=5, manifest=MANIFEST, cpu_percent=99.0))
    take_up()
    device.refresh_from_db()
    assert (device.cpu_percent, device.storage_free, device.decisions) == (50.0, 70, 8)
    assert (device.sample_at, device.last_seen) == (START + timedelta(seconds=10), START)


def test_a_device_that_was_seen_later_stays_so(device):
    device.last_seen = START + timedelta(seconds=1)
    device.save()
    add(samples(device, [1]))
    take_up()
    device.refresh_from_db()
    assert device.last_seen == START + timedelta(seconds=1)


def test_open_pages_of_these_devices_hear_of_it(device):
    add(samples(device, [1]))
    take_up()
    assert Signal.objects.get().topics == [f"device:{device.pk}", "devices"]


@pytest.mark.parametrize("devices", [1, 200])
def test_it_takes_the_same_few_statements_whatever_there_is(db, devices):
    for device in [make_device() for _ in range(devices)]:
        add(samples(device, range(400 // devices), latency={70: 5}, decisions=5))
    with CaptureQueriesContext(connection) as queries:
        assert take_up() == 400
    assert len(queries) <= 26, [query["sql"][:80] for query in queries]
    with CaptureQueriesContext(connection) as queries:
        assert take_up() == 0
    assert len(queries) <= 4


@pytest.mark.django_db(transaction=True)
def test_two_at_once_take_up_each_sample_once():
    devices = [make_device() for _ in range(3)]
    for device in devices:
        add(samples(device, range(100), latency={70: 1}, decisions=1))
    ready, taken, problems = threading.Barrier(2), [], []

    def gateway() -> None:
        try:
            ready.wait(5)
            while count := take_up(most=40):
                taken.append(count)
        except Exception as problem:
            problems.append(problem)
        finally:
            connection.close()

    threads = [threading.Thread(target=gateway) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    assert sum(taken) == 300
    assert sum(DeviceMinute.objects.values_list("samples", flat=True)) == 300
    assert Summed.objects.get().sample == Sample.objects.order_by("-pk").values_list("pk", flat=True)[0]
