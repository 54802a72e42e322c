"""Who asked how much: counted in memory, written in batches, read for the page."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from fleet.audit.models import Signal
from fleet.inference import usage
from fleet.inference.metering import Meter, write
from fleet.inference.models import Usage

NOON = datetime(2026, 6, 1, 12, 30, tzinfo=UTC)


def test_a_process_writes_its_totals_over_and_over_and_nothing_counts_twice(db):
    meter = Meter()
    for milliseconds in (8.0, 15.0, 700.0):
        meter.answered("d-1", 1000, 100, milliseconds, NOON)
    write(meter.take())
    meter.refused("d-1", "quota", 1000, NOON)
    write(meter.take())
    write([])
    assert meter.take() == []

    row = Usage.objects.get()
    assert (row.requests, row.answered, row.refused_quota, row.bytes_in, row.bytes_out) == (4, 3, 1, 4000, 300)
    assert (row.within_10, row.within_20, row.within_500, row.within_1000) == (1, 2, 2, 3)
    assert (row.milliseconds, row.slowest) == (723.0, 700.0)
    assert Signal.objects.filter(topics=["inference"]).count() == 2


def test_what_two_processes_wrote_is_summed_when_it_is_read(db):
    one, other = Meter(), Meter()
    for meter in (one, other):
        meter.answered("d-1", 10, 1, 30.0, NOON)
        meter.answered("d-2", 10, 1, 90.0, NOON)
        meter.refused("", "login", 0, NOON)
        write(meter.take())
    together, devices = usage.total(NOON)
    assert (together.requests, together.answered, devices) == (6, 4, 2)
    assert (together.mean_ms, together.within_ms, together.slowest_ms) == (60.0, 100, 90.0)
    assert together.why == [("the login is not valid", 2)]
    assert usage.today(NOON) == 40
    rows = {row["device"]: usage.used(row) for row in usage.by_device(NOON)}
    assert rows["d-1"].within_ms == 50
    assert rows[""].mean_ms is None


def test_an_hour_that_is_over_is_written_once_more_and_then_forgotten(db):
    meter = Meter()
    meter.answered("d-1", 10, 1, 5.0, NOON)
    meter.answered("d-1", 10, 1, 5.0, NOON + timedelta(hours=1))
    assert len(meter.take()) == 2
    meter.answered("d-1", 10, 1, 5.0, NOON + timedelta(hours=1))
    assert [row.requests for row in meter.take()] == [2]
    assert meter.today("d-1", NOON) == 30
    assert meter.today("", NOON) == 30
    assert meter.today("d-1", NOON + timedelta(days=1)) == 0


def test_a_thousand_devices_are_written_in_a_few_statements(db):
    meter = Meter()
    for number in range(1000):
        meter.answered(f"d-{number}", 10, 1, 5.0, NOON)
    with CaptureQueriesContext(connection) as queries:
        write(meter.take())
    assert len(queries) <= 30  # SQLite takes 40 rows in one, PostgreSQL 500
    assert Usage.objects.count() == 1000


@pytest.mark.parametrize("hours", [23, 25])
def test_a_day_is_looked_at(db, hours):
    meter = Meter()
    meter.answered("d-1", 10, 1, 5.0, NOON - timedelta(hours=hours))
    write(meter.take())
    assert usage.total(NOON)[0].requests == (1 if hours < 24 else 0)
