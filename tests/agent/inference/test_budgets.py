"""What a decision may take, and which of it was broken."""

import math

import pytest

from agent.inference.budgets import Budgets, bandwidth, budgets, watts
from agent.inference.meter import Timing
from agent.inference.policy_card import read
from agent.wire import codec
from agent.wire.hardware import DeviceClass
from agent.wire.messages import Config
from tests.agent.variants import card


def card_of(**changes):
    return read(codec.encode(card(**changes)))


@pytest.mark.parametrize(
    ("timing", "broken"),
    [
        (Timing(), ()),
        (Timing(preprocess=50, compute=30), ()),
        (Timing(preprocess=51), ("preprocess",)),
        (Timing(compute=31), ("compute",)),
        (Timing(queue=101), ("total",)),
        (Timing(queue=30, postprocess=30, network=41), ("total",)),
        (Timing(preprocess=51, compute=50), ("preprocess", "compute", "total")),
    ],
)
def test_the_sources_numbers_hold_by_default(timing, broken):
    assert budgets(Config(), None, 100.0).broken(timing) == broken


def test_a_card_names_others_and_an_operator_others_still():
    own = card_of(budgets={"compute_ms": 12}, deadline_ms=40)
    assert budgets(Config(), own, own.deadline_ms) == Budgets(50, 12, 40)
    assert budgets(Config(compute_budget=5, total_budget=9), own, 40) == Budgets(50, 5, 9)


def test_a_card_without_budgets_is_as_it_was():
    assert card_of().budgets.compute_ms == 30


def test_bandwidth_and_power():
    assert (bandwidth(Config()), bandwidth(Config(bandwidth_budget=2.5))) == (10e6, 2.5e6)
    assert [watts(Config(), kind) for kind in DeviceClass] == [math.inf, 5.0, math.inf]
    assert watts(Config(power_budget=3), DeviceClass.MOBILE) == watts(Config(power_budget=3), DeviceClass.EMBEDDED) == 3
