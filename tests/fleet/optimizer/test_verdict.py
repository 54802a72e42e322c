"""The gates, the rule that is never broken, and the sentences that people read."""

import msgspec
import pytest

from agent.wire.hardware import DeviceClass
from fleet.optimizer import verdict
from fleet.optimizer.contract import Constraints
from fleet.optimizer.evaluation import Figures

LIMITS = verdict.Limits.of(Constraints(max_loss_points=2.0), DeviceClass.EMBEDDED, deadline_ms=100)
ORIGINAL = Figures(bytes=4_000_000, p50_ms=2.0, p95_ms=3.0, success=0.97, episodes=300)
GOOD = Figures(
    bytes=1_000_000,
    p50_ms=1.0,
    p95_ms=1.5,
    ratio_p50=0.5,
    ratio_low=0.49,
    ratio_high=0.51,
    success=0.965,
    episodes=300,
    loss_points=0.5,
    loss_low=-0.5,
    loss_high=1.5,
)


def but(**changes) -> Figures:
    return msgspec.structs.replace(GOOD, **changes)


def test_what_is_smaller_faster_and_does_its_job_may_be_released():
    assert verdict.refusal(GOOD, LIMITS) == ""


@pytest.mark.parametrize(
    ("figures", "sentence"),
    [
        (but(finite=False), "NaN or infinity"),
        (but(p95_ms=120.0), "120.0 ms"),
        (but(memory_bytes=5 * 2**30), "5,120 MiB of memory; 4,096 MiB are allowed"),
        (but(loss_points=2.1), "It lost 2.1 points"),
    ],
)
def test_each_gate_says_the_figure_that_decided(figures, sentence):
    assert sentence in verdict.refusal(figures, LIMITS)


def test_slower_and_less_faithful_is_never_released_whatever_else_it_is():
    slow = but(ratio_p50=1.1, ratio_low=1.05, ratio_high=1.15, loss_points=0.1, bytes=10)
    assert "never released" in verdict.refusal(slow, LIMITS)


def test_slower_alone_or_less_faithful_alone_may_be():
    assert verdict.refusal(but(ratio_p50=1.1, ratio_low=1.05, loss_points=0.0), LIMITS) == ""
    assert verdict.refusal(but(ratio_p50=0.9, ratio_low=0.8, loss_points=1.9), LIMITS) == ""


def test_a_difference_within_noise_is_not_slower():
    assert not verdict.slower(but(ratio_p50=1.05, ratio_low=0.99))
    assert not verdict.slower(but(ratio_p50=1.02, ratio_low=1.01))
    assert verdict.slower(but(ratio_p50=1.05, ratio_low=1.01))


def test_without_episodes_faithful_means_the_same_outputs():
    blind = but(loss_points=None, success=None, episodes=0)
    assert not verdict.less_faithful(msgspec.structs.replace(blind, max_error=1e-5, tolerance=1e-3))
    assert verdict.less_faithful(msgspec.structs.replace(blind, max_error=1e-2, tolerance=1e-3))


def test_the_smaller_and_faster_has_the_lesser_objective():
    assert verdict.score(GOOD, ORIGINAL, LIMITS) < verdict.score(ORIGINAL, ORIGINAL, LIMITS)
    assert verdict.score(but(memory_bytes=8 * 2**30), ORIGINAL, LIMITS) > verdict.score(ORIGINAL, ORIGINAL, LIMITS)


def test_the_winner_and_the_rest_say_why():
    scores = {"original": 1.02, "fp16": 0.26}
    won = verdict.why_won("fp16", scores, GOOD, ORIGINAL)
    assert "4.00 times smaller" in won
    assert "95 % interval -0.5 to 1.5" in won
    assert "fp16 has the lesser objective (0.260 against 1.020)" in verdict.why_passed(
        "original", "fp16", scores, ORIGINAL, ORIGINAL
    )
    assert "the original is the variant" in verdict.why_won("original", {"original": 1.0}, ORIGINAL, ORIGINAL)
