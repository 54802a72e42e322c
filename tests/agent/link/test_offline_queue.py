"""Telemetry waits on disk while there is no link."""

import sqlite3
import subprocess
import sys

import pytest

from agent.link import offline_queue
from agent.link.offline_queue import OfflineQueue
from agent.wire.messages import Sample
from tests.agent.disks import fill, small_disk


def sample(number: int) -> Sample:
    return Sample(seq=number, at=1795000000.0 + number, cpu_percent=12.5)


def drained(queue: OfflineQueue) -> list[tuple[str, int]]:
    found = []
    while (batch := queue.peek()) is not None:
        found += [(batch.telemetry.boot_id, each.seq) for each in batch.telemetry.samples]
        queue.remove(batch)
    return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "telemetry.db"


def test_what_waited_comes_out_in_order(path, monkeypatch):
    monkeypatch.setattr(offline_queue, "BATCH", 30)
    queue = OfflineQueue(path)
    for number in range(100):
        queue.put("b-1", sample(number))

    assert len(queue) == 100
    assert drained(queue) == [("b-1", number) for number in range(100)]
    assert len(queue) == 0
    queue.close()


def test_samples_of_two_boots_are_not_mixed_in_one_message(path):
    queue = OfflineQueue(path)
    for boot in ("b-1", "b-2"):
        for number in range(3):
            queue.put(boot, sample(number))

    batch = queue.peek()
    assert batch is not None
    assert (batch.telemetry.boot_id, len(batch.telemetry.samples)) == ("b-1", 3)
    assert len(drained(queue)) == 6
    queue.close()


def test_what_was_not_acknowledged_is_there_after_a_restart(path):
    queue = OfflineQueue(path)
    queue.put("b-1", sample(1))
    assert queue.peek() is not None
    queue.close()

    again = OfflineQueue(path)
    assert drained(again) == [("b-1", 1)]
    again.close()


def test_the_oldest_are_dropped_beyond_the_bound_and_counted(path):
    queue = OfflineQueue(path, limit=5)
    for number in range(12):
        queue.put("b-1", sample(number))

    batch = queue.peek()
    assert batch is not None
    assert [each.seq for each in batch.telemetry.samples] == [7, 8, 9, 10, 11]
    assert batch.telemetry.dropped == 7
    queue.close()


def test_drops_are_counted_for_the_boot_that_lost_them(path):
    queue = OfflineQueue(path, limit=2)
    for boot in ("b-1", "b-2"):
        for number in range(3):
            queue.put(boot, sample(number))

    batch = queue.peek()
    assert batch is not None
    assert (batch.telemetry.boot_id, batch.telemetry.dropped) == ("b-2", 1)
    queue.close()


def test_a_message_stays_small(path, monkeypatch):
    assert offline_queue.BATCH <= 500  # what the wire allows
    monkeypatch.setattr(offline_queue, "BATCH", 5)
    queue = OfflineQueue(path)
    for number in range(6):
        queue.put("b-1", sample(number))

    batch = queue.peek()
    assert batch is not None
    assert len(batch.telemetry.samples) == 5
    queue.close()


def test_samples_outlive_a_killed_process(path):
    code = (
        "import os, sys; from agent.link.offline_queue import OfflineQueue; from agent.wire.messages import Sample\n"
        "queue = OfflineQueue(__import__('pathlib').Path(sys.argv[1]))\n"
        "[queue.put('b-1', Sample(seq=n, at=1.0)) for n in range(10)]\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)

    queue = OfflineQueue(path)
    assert drained(queue) == [("b-1", number) for number in range(10)]
    queue.close()


@pytest.mark.parametrize("damage", [b"not a database, not at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_put_aside(path, damage, caplog):
    path.write_bytes(damage)
    queue = OfflineQueue(path)
    queue.put("b-1", sample(1))

    assert drained(queue) == [("b-1", 1)]
    assert path.with_suffix(".damaged").read_bytes() == damage
    assert "is damaged" in caplog.text
    queue.close()


def test_a_sample_that_cannot_be_read_is_dropped_and_stops_nothing(path):
    queue = OfflineQueue(path)
    queue.put("b-1", sample(1))
    with sqlite3.connect(path) as other:
        other.execute("UPDATE samples SET body = '{}'")
    other.close()
    queue.put("b-1", sample(2))

    batch = queue.peek()
    assert batch is not None
    assert ([each.seq for each in batch.telemetry.samples], batch.telemetry.dropped) == ([2], 1)
    queue.close()


def test_a_full_disk_costs_samples_and_stops_nothing():
    with small_disk("1m") as disk:
        queue = OfflineQueue(disk / "telemetry.db")
        for number in range(10):
            queue.put("b-1", sample(number))
        ballast = fill(disk)
        queue.put("b-1", sample(10))

        assert drained(queue) == [("b-1", number) for number in range(10)]
        assert queue.peek() is None
        ballast.unlink()
        queue.put("b-1", sample(11))
        assert drained(queue) == [("b-1", 11)]
        assert len(queue) == 0
        queue.close()
