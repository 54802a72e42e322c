"""The formulas, at the numbers that people know and at their ends."""

from math import inf

import pytest

from fleet.planner.formulas import Latency, added, bandwidth, blended, longest, mixed, monthly, transmit_ms, use
from fleet.units import NBSP, rate_words

MB = 1e6


def test_the_total_is_the_sum_of_its_four_parts():
    assert Latency(50, 100, 50, 100).total == 300
    assert Latency(30, other=2).total == 32


def test_ten_megabytes_a_second_and_one_every_tenth_are_160_megabits():
    rate = bandwidth(10 * MB, 1.0) + bandwidth(1 * MB, 0.1)
    assert rate == 20 * MB
    assert rate_words(rate).replace(NBSP, " ") == "20 MB/s (160 Mbit/s)"


@pytest.mark.parametrize(
    ("size", "link", "milliseconds"),
    [
        (1 * MB, 10 * MB, 100.0),
        (0, 10 * MB, 0.0),
        (1 * MB, 0, inf),
        (0, 0, inf),
        (None, 0, inf),
        (None, 10 * MB, None),
        (1 * MB, None, None),
    ],
)
def test_sending_takes_its_bytes_over_the_link(size, link, milliseconds):
    assert transmit_ms(size, link) == milliseconds


@pytest.mark.parametrize(
    ("size", "seconds", "rate"),
    [(0, None, 0.0), (0, 0, 0.0), (5, 0, inf), (5, None, None), (None, 1, None), (5, 2, 2.5)],
)
def test_bandwidth_is_data_over_time(size, seconds, rate):
    assert bandwidth(size, seconds) == rate


@pytest.mark.parametrize(("used", "total", "share"), [(1, 4, 0.25), (6, 4, 1.5), (0, 0, 0.0), (1, 0, inf)])
def test_use_is_used_over_total(used, total, share):
    assert use(used, total) == share


@pytest.mark.parametrize(
    ("parts", "total"),
    [((), 0), ((1, 2), 3), ((1, None), None), ((inf, None), inf), ((None, inf, 1), inf)],
)
def test_what_never_ends_outweighs_what_is_not_known(parts, total):
    assert added(*parts) == total
    if parts:
        assert longest(*parts) == (max(parts) if total == 3 else total)


@pytest.mark.parametrize(
    ("one", "other", "share", "mean"),
    [
        (10, 20, 0.5, 15),
        (10, None, 0, 10),
        (10, inf, 0, 10),
        (None, 20, 1, 20),
        (10, None, 0.5, None),
        (10, inf, 0.5, inf),
        (None, inf, 0.5, inf),
    ],
)
def test_a_way_that_nobody_takes_is_not_asked(one, other, share, mean):
    assert mixed(one, other, share) == mean


def test_a_mean_is_taken_part_by_part():
    assert blended(Latency(10, other=2), Latency(20, 40, 8, 0), 0.25).parts == (12.5, 10, 2, 1.5)


def test_a_month_has_30_days_of_so_many_hours():
    assert monthly(1.0, 24) == 2_592_000
    assert monthly(2.0, 8) == 1_728_000
