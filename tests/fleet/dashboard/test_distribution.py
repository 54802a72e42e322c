"""Sketches as drawings: nothing is lost on the way, and a limit inside a bin cuts it."""

import random

import pytest

from agent.wire.latency import bin_of
from fleet.dashboard.distribution import density, edges, evenly, five, histogram, likelihood, within


def sketch(*milliseconds: float) -> dict[int, int]:
    bins: dict[int, int] = {}
    for value in milliseconds:
        bins[bin_of(value)] = bins.get(bin_of(value), 0) + 1
    return bins


@pytest.mark.parametrize("value", [0.01, 1.0, 38.4, 100.0, 12_345.0])
def test_a_latency_lies_between_the_edges_of_its_bin(value):
    low, high = edges(bin_of(value))
    assert low < value <= high * (1 + 1e-9)
    assert high / low == pytest.approx(1.02 / 0.98)


def test_even_steps_hold_every_decision_once():
    pick = random.Random(5)  # noqa: S311
    bins = sketch(*(pick.lognormvariate(3.5, 0.6) for _ in range(4000)))
    counts = evenly(bins, 4.0, 30)
    assert sum(counts) == pytest.approx(4000)
    true = sum(1 for number, count in bins.items() if edges(number)[1] <= 40 for _ in range(count))
    assert sum(counts[:10]) == pytest.approx(true, abs=max(bins.values()))


def test_what_is_slower_than_the_drawing_stands_in_its_last_bar():
    counts = evenly(sketch(5.0, 5000.0), 4.0, 30)
    assert counts[-1] == pytest.approx(1)
    drawn = histogram(sketch(*[20.0] * 99, 5000.0), 100)
    assert drawn.bars[-1].late
    assert drawn.bars[-1].label.startswith("116 ms and more: 1.00 %")
    assert not drawn.bars[0].late


def test_smooth_latencies_make_no_comb():
    """Bins of 2 % beside steps of 4 ms would leave every other step empty or doubled."""
    counts = evenly(sketch(*(50 + 50 * number / 20_000 for number in range(20_000))), 2.0, 50)[26:49]
    assert max(counts) / min(counts) < 1.05


def test_the_share_within_a_limit():
    assert within({}, 100) is None
    assert within(sketch(10, 20, 30, 200), 100) == 0.75
    low, high = edges(bin_of(100))
    assert within({bin_of(100): 10}, (low + high) / 2) == pytest.approx(0.5)


def test_nothing_decided_draws_nothing():
    assert histogram({}, 100) is None
    assert density({}, 2.0, 10) == []


def test_a_density_is_in_percent_of_all_also_of_those_that_are_not_drawn():
    shares = density(sketch(*[5.0] * 9, 500.0), 10.0, 10)
    assert sum(shares) == pytest.approx(90)


def test_how_sure_a_success_is():
    shares = [0.0, 0.25, 0.5, 0.75, 1.0]
    assert likelihood(5, 10, shares)[2] == 1.0
    assert likelihood(0, 10, shares)[0] == 1.0
    assert likelihood(10, 10, shares)[4] == 1.0
    few, many = likelihood(8, 10, [0.7])[0], likelihood(800, 1000, [0.7])[0]
    assert few > 0.5 > 0.001 > many


def test_five_numbers():
    assert five([3.0]) == (3.0,) * 5
    assert five(list(range(101))) == (5, 25, 50, 75, 95)
