"""Waiting longer after each failure, and never all at once."""

import pytest

from agent.link.backoff import delay


@pytest.mark.parametrize(
    ("attempt", "shortest", "longest"), [(0, 0.5, 1), (1, 1, 2), (4, 8, 16), (6, 30, 60), (10**6, 30, 60)]
)
def test_doubles_up_to_its_cap(attempt, shortest, longest):
    assert delay(attempt, 1.0, 60.0, lambda: 0.0) == shortest
    assert delay(attempt, 1.0, 60.0, lambda: 1.0) == longest


def test_devices_spread_out():
    assert len({delay(5, 1.0, 60.0) for _ in range(100)}) > 90
