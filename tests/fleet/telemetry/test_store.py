"""Samples are stored once each, on every database the server runs on (tests/fleet/test_postgresql.py)."""

import threading
from datetime import UTC, datetime

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from agent.wire.messages import Sample as WireSample
from fleet.telemetry import store
from fleet.telemetry.models import Sample
from tests.conftest import make_device

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def samples(device, numbers, boot="b-1", **figures) -> list[tuple[str, str, WireSample]]:
    figures = {"cpu_percent": 12.5, "power_source": "estimated", **figures}
    return [
        (device.pk, boot, WireSample(seq=number, at=START.timestamp() + 5 * number, **figures)) for number in numbers
    ]


def add(rows) -> int:
    with transaction.atomic():
        return store.add(rows, START)


def test_what_is_new_is_stored_as_it_was_measured(device):
    assert add(samples(device, [3, 1, 2])) == 3
    stored = Sample.objects.order_by("at").values_list("seq", "at", "cpu_percent", "memory_used", "power_source")
    assert [(seq, at.timestamp() - START.timestamp(), *rest) for seq, at, *rest in stored] == [
        (number, 5 * number, 12.5, None, "estimated") for number in (1, 2, 3)
    ]
    assert set(Sample.objects.values_list("received_at", flat=True)) == {START}


def test_what_comes_again_is_not_stored_again(device):
    add(samples(device, [1, 2, 3]))
    assert add(samples(device, [2, 3, 4, 5, 5], cpu_percent=99.0)) == 2
    assert Sample.objects.count() == 5
    assert Sample.objects.get(seq=2).cpu_percent == 12.5


def test_another_boot_and_another_device_count_anew(device):
    add(samples(device, [1]))
    assert add(samples(device, [1], "b-2") + samples(make_device(), [1])) == 2
    assert Sample.objects.count() == 3


def test_two_batches_of_one_transaction_do_not_mix(device):
    with transaction.atomic():
        assert store.add(samples(device, [1, 2]), START) == 2
        assert store.add(samples(device, [3]), START) == 1
    assert Sample.objects.count() == 3


def test_what_was_rolled_back_is_stored_when_it_comes_again(device):
    with transaction.atomic():
        store.add(samples(device, [1, 2]), START)
        transaction.set_rollback(True)
    assert add(samples(device, [1, 2])) == 2
    assert Sample.objects.count() == 2


@pytest.mark.parametrize("devices", [1, 40, 200])
def test_a_batch_costs_the_same_few_statements_whatever_it_holds(db, devices):
    rows = []
    for device in [make_device() for _ in range(devices)]:
        rows += samples(device, range(400 // devices), latency={70: 5}, decisions=5)
    with CaptureQueriesContext(connection) as queries:
        add(rows)
    assert len(queries) <= 7, [query["sql"][:80] for query in queries]
    assert Sample.objects.count() == 400


@pytest.mark.django_db(transaction=True)
def test_two_gateways_that_store_the_same_samples_at_once_store_them_once():
    device = make_device()
    ready, new, problems = threading.Barrier(2), [], []

    def gateway() -> None:
        try:
            ready.wait(5)
            new.append(add(samples(device, range(200), latency={70: 1})))
        except Exception as problem:
            problems.append(problem)
        finally:
            connection.close()

    threads = [threading.Thread(target=gateway) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert problems == []
    assert Sample.objects.count() == 200
    assert sum(new) == 200
