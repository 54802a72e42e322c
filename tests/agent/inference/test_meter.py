"""Counting decisions between two looks."""

import pytest

from agent.inference.meter import KEPT, Meter, Timing, percentile
from agent.wire import latency


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [([5.0], 0.95, 5.0), ([3.0, 1.0, 2.0], 0.5, 2.0), (list(range(1, 101)), 0.95, 95), (list(range(1, 101)), 1.0, 100)],
)
def test_nearest_rank(values, share, found):
    assert percentile(values, share) == found


def test_a_window_begins_anew_when_it_is_taken():
    meter = Meter()
    meter.decided(Timing(1, 2, 3, 4), late=True)
    meter.decided(Timing(3, 2, 1, 0), late=False)
    meter.count(episodes=2, successes=1)
    window = meter.take()

    assert (window.decisions, window.late, window.episodes, window.successes) == (2, 1, 2, 1)
    assert window.stages == Timing(2, 2, 2, 2)
    assert window.latencies == (10, 6)
    assert window.bins == {latency.bin_of(10): 1, latency.bin_of(6): 1}
    assert meter.take().decisions == 0


def test_without_a_decision_there_is_no_latency():
    assert Meter().take().percentile(0.95) is None


def test_memory_is_bounded_and_the_latest_count():
    meter = Meter()
    for number in range(KEPT + 10):
        meter.decided(Timing(compute=number), late=False)
    window = meter.take()

    assert len(window.latencies) == KEPT
    assert window.latencies[-1] == KEPT + 9
    assert window.decisions == KEPT + 10 == sum(window.bins.values()), "bins forget nothing"
