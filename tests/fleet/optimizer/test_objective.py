"""The objective weighs latency, bytes and missing memory, each as a share of its limit."""

import pytest

from fleet.optimizer.objective import Weights, objective

LIMITS = {"latency_limit_ms": 100.0, "size_limit": 1000, "memory_limit": 2000}


def test_each_term_counts_as_a_share_of_its_limit():
    assert objective(latency_ms=50, size=500, memory=2000, **LIMITS) == pytest.approx(1.0)
    assert objective(latency_ms=50, size=500, memory=2200, **LIMITS) == pytest.approx(2.0)


def test_memory_that_is_there_is_free():
    free = objective(latency_ms=1, size=1, memory=0, **LIMITS)
    assert free == objective(latency_ms=1, size=1, memory=2000, **LIMITS)


def test_weights_say_what_matters():
    fast, small = {"latency_ms": 10, "size": 900, "memory": 0}, {"latency_ms": 90, "size": 100, "memory": 0}
    hurry, thrift = Weights(latency=5), Weights(size=5)
    assert objective(**fast, **LIMITS, weights=hurry) < objective(**small, **LIMITS, weights=hurry)
    assert objective(**fast, **LIMITS, weights=thrift) > objective(**small, **LIMITS, weights=thrift)


def test_a_limit_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="above 0"):
        objective(latency_ms=1, size=1, memory=1, latency_limit_ms=1, size_limit=0, memory_limit=1)
