"""A device whose clock is years off, or jumps: it goes on, and says what it cannot do. Updates: `test_provenance`."""

import time

import pytest

from agent.clock import Clock
from agent.wire.messages import CommandOrder
from tests.agent.variants import variant
from tests.agent.waiting import wait_for

YEARS = 365.25 * 86_400


class Off(Clock):
    """`seconds` away from the right time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def time(self) -> float:
        return time.time() + self.seconds


@pytest.fixture
def acting(device, server):
    """`acting(seconds)`: a device that decides, whose clock is so far off."""

    def start(seconds):
        clock, made = Off(seconds), variant(2.0)
        # Updates go by the machine's own clock here: what a wrong one does to them is tried elsewhere.
        there = device(source="tests.agent.worlds:steady", clock=clock)
        server.offer(made)
        server.wish(made.digest, "p-1")
        server.ended("p-1", "active")
        return there, clock

    return start


def decided(server) -> list:
    return [sample for message in list(server.telemetry) for sample in message.samples if sample.decisions]


@pytest.mark.parametrize("years", [-10, 10])
def test_ten_years_off_it_decides_and_reports_by_its_own_time(acting, server, years):
    acting(years * YEARS)
    samples = wait_for("decisions", lambda: decided(server)[1:])

    assert all(abs(sample.at - time.time() - years * YEARS) < 60 for sample in samples)
    assert all(0.5 < sample.interval < 5 for sample in samples), "intervals are measured, not taken from that clock"


def test_ahead_of_time_an_order_is_too_late_and_the_answer_says_by_whose_clock(acting, server):
    acting(10 * YEARS)
    server.order(CommandOrder(id="c-1", kind="ping", deadline=time.time() + 60))
    wait_for("the answer", lambda: "rejected" in server.command_states("c-1"))
    reason = next(report.reason for report in server.commands if report.id == "c-1")

    assert "this device's clock says" in reason


def test_behind_the_time_an_order_is_carried_out(acting, server):
    acting(-10 * YEARS)
    server.order(CommandOrder(id="c-1", kind="ping", deadline=time.time() + 60))
    wait_for("the answer", lambda: "succeeded" in server.command_states("c-1"))


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_clock_that_is_set_stops_nothing(acting, server, jump):
    _, clock = acting(0.0)
    wait_for("decisions", lambda: decided(server))
    clock.seconds = jump
    seen = len(server.telemetry)
    after = wait_for("samples after it", lambda: decided(server)[seen + 2 :])

    assert [sample.seq for sample in after] == sorted(sample.seq for sample in after)
    assert all(0.5 < sample.interval < 5 for sample in after)
