"""Samples are stored once each, on every database the server runs on (tests/fleet/test_postgresql.py)."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from fleet.telemetry import store
from fleet.telemetry.models import Sample
from tests.conftest import make_device

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def samples(device, numbers, boot="b-1", **figures) -> dict[store.Key, Sample]:
    return {
        (device.pk, boot, number): Sample(
            device_id=device.pk,
            boot_id=boot,
            seq=number,
            at=START + timedelta(seconds=5 * number),
            received_at=START,
            **{"cpu_percent": 12.5, "power_source": "estimated", **figures},
        )
        for number in numbers
    }


def add(rows):
    with transaction.atomic():
        return [(row.device_id, row.seq) for row in store.add(rows)]


def test_what_is_new_is_stored_and_given_back_the_oldest_first(device):
    assert add(samples(device, [3, 1, 2])) == [(device.pk, 1), (device.pk, 2), (device.pk, 3)]
    stored = Sample.objects.order_by("at").values_list("seq", "at", "cpu_percent", "memory_used", "power_source")
    assert list(stored) == [
        (number, START + timedelta(seconds=5 * number), 12.5, None, "estimated") for number in (1, 2, 3)
    ]


def test_what_comes_again_is_not_stored_again(device):
    add(samples(device, [1, 2, 3]))
    assert add(samples(device, [2, 3, 4, 5], cpu_percent=99.0)) == [(device.pk, 4), (device.pk, 5)]
    assert Sample.objects.count() == 5
    assert Sample.objects.get(seq=2).cpu_percent == 12.5


def test_another_boot_and_another_device_count_anew(device):
    add(samples(device, [1]))
    other = make_device()
    assert add(samples(device, [1], "b-2") | samples(other, [1])) == [(device.pk, 1), (other.pk, 1)]


def test_two_batches_of_one_transaction_do_not_mix(device):
    with transaction.atomic():
        store.add(samples(device, [1, 2]))
        assert [row.seq for row in store.add(samples(device, [3]))] == [3]
    assert Sample.objects.count() == 3


def test_what_was_rolled_back_is_stored_when_it_comes_again(device):
    with transaction.atomic():
        store.add(samples(device, [1, 2]))
        transaction.set_rollback(True)
    assert add(samples(device, [1, 2])) == [(device.pk, 1), (device.pk, 2)]


def test_text_arrives_as_it_was_sent(device):
    odd = 'tab\there, \\N, "quoted", \n, µ'
    add(samples(device, [1], power_source=odd[:16], manifest=odd))
    row = Sample.objects.get()
    assert (row.power_source, row.manifest) == (odd[:16], odd)


def test_a_batch_of_many_devices_costs_few_statements(db):
    rows = {}
    for device in [make_device() for _ in range(40)]:
        rows |= samples(device, range(10))
    with CaptureQueriesContext(connection) as queries:
        add(rows)
    # SQLite takes 999 values in a statement, so 35 rows.
    assert len(queries) <= (7 if connection.vendor == "postgresql" else 20), [query["sql"][:80] for query in queries]
    assert Sample.objects.count() == 400


@pytest.mark.django_db(transaction=True)
def test_two_gateways_that_store_the_same_samples_at_once_store_them_once():
    device = make_device()
    ready, given, problems = threading.Barrier(2), [], []

    def gateway() -> None:
        try:
            ready.wait(5)
            given.append(add(samples(device, range(200))))
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
    assert sum(map(len, given)) == 200
