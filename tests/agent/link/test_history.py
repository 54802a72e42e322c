"""Samples that wait, with and without a history."""

import pytest

from agent.link.history import History
from agent.link.offline_queue import OfflineQueue
from agent.wire.messages import Sample


def sample(number: int) -> Sample:
    return Sample(seq=number, at=1795000000.0 + number)


def drained(history: History) -> list[int]:
    found = []
    while (batch := history.peek()) is not None:
        found += [each.seq for each in batch.telemetry.samples]
        history.remove(batch)
    return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "telemetry.db"


@pytest.fixture
def history(path):
    return History(OfflineQueue(path), few=3)


def on_disk(path) -> int:
    return len(OfflineQueue(path))


def test_without_a_history_nothing_is_written_and_the_newest_few_wait(history, path):
    assert history.use(False)
    for number in range(5):
        history.put("b-1", sample(number))

    assert (len(history), on_disk(path)) == (3, 0)
    assert history.peek().telemetry.dropped == 2, "what it lost it counts"
    assert drained(history) == [2, 3, 4]
    assert len(history) == 0


def test_what_lay_on_the_disk_is_sent_before_it_counts_as_without(history, path):
    for number in range(2):
        history.put("b-1", sample(number))
    assert not history.use(False)
    history.put("b-1", sample(2))

    assert drained(history) == [0, 1, 2]
    assert history.use(False)
    assert on_disk(path) == 0


def test_with_a_history_again_what_waited_in_memory_comes_first(history, path):
    history.use(False)
    history.put("b-1", sample(0))
    assert history.use(True)
    history.put("b-1", sample(1))

    assert on_disk(path) == 2
    assert drained(history) == [0, 1]


def test_a_batch_that_was_under_way_leaves_what_came_after_it(history):
    history.use(False)
    history.put("b-1", sample(0))
    batch = history.peek()
    history.put("b-1", sample(1))
    history.remove(batch)

    assert drained(history) == [1]


def test_one_message_holds_the_samples_of_one_boot(history):
    history.use(False)
    history.put("b-1", sample(0))
    history.put("b-2", sample(0))
    first = history.peek()

    assert (first.telemetry.boot_id, len(first.telemetry.samples)) == ("b-1", 1)
    history.remove(first)
    assert history.peek().telemetry.boot_id == "b-2"
