"""Whether a new variant does its job."""

import pytest

from agent.deployment.watch import evidence, judge
from agent.inference.meter import Window


def window(decisions=100, latency=10.0, **more) -> Window:
    return Window(decisions=decisions, latencies=(latency,) * decisions, **more)


@pytest.mark.parametrize(
    ("seen", "elapsed", "word"),
    [
        (window(), 10, "watching"),
        (window(), 60, "healthy"),
        (Window(), 60, "healthy"),  # a device without a source decides only when it is asked
        (Window(), 59, "watching"),
        (window(not_finite=1), 1, "unhealthy"),
        (window(errors=2), 10, "watching"),
        (window(errors=6), 10, "unhealthy"),
        (window(decisions=1000, errors=6), 60, "healthy"),
        (Window(errors=3), 1, "unhealthy"),
        (window(latency=101.0), 10, "unhealthy"),
        (window(decisions=19, latency=101.0), 10, "watching"),
        (window(latency=100.0), 60, "healthy"),
    ],
)
def test_verdicts(seen, elapsed, word):
    verdict = judge(seen, deadline_ms=100.0, elapsed=elapsed, watch_seconds=60)

    assert verdict.word == word
    assert bool(verdict.reason) == (word == "unhealthy")


def test_a_few_slow_decisions_are_none_too_many():
    mixed = Window(decisions=100, latencies=(10.0,) * 95 + (500.0,) * 5)

    assert judge(mixed, 100.0, 1, 60).word == "watching"


def test_the_evidence_has_the_figures():
    figures = evidence(window(late=3, errors=1), 100.0)

    assert figures == {
        "decisions": 100,
        "late": 3,
        "errors": 1,
        "not_finite": 0,
        "deadline_ms": 100.0,
        "latency_p50": 10.0,
        "latency_p95": 10.0,
    }
    assert "latency_p95" not in evidence(Window(), 100.0)
