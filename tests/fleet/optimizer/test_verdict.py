"""The gates, the rule that is never broken, and the sentences that people read."""

import dataclasses

import msgspec
import pytest

from agent.wire.hardware import DeviceClass
from fleet.optimizer import verdict
from fleet.optimizer.contract import Constraints, Trial
from fleet.optimizer.evaluation import Figures
from fleet.optimizer.recipe import recipe_for

LIMITS = verdict.Limits.of(
    Constraints(max_loss_points=2.0),
    DeviceClass.EMBEDDED,
    recipe_for(DeviceClass.EMBEDDED),
    deadline_ms=100,
    episodes=True,
    original_bytes=4_000_000,
)
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


def test_a_thorough_search_wants_proof_and_an_edge_server_more_of_it():
    def allowed(device_class: DeviceClass, high: float) -> bool:
        limits = verdict.Limits.of(
            Constraints(),
            device_class,
            recipe_for(device_class),
            deadline_ms=100,
            episodes=True,
            original_bytes=4_000_000,
            thorough=True,
        )
        return not verdict.refusal(but(loss_points=0.1, loss_low=-0.3, loss_high=high, episodes=4000), limits)

    assert allowed(DeviceClass.EMBEDDED, 1.9)
    assert not allowed(DeviceClass.EMBEDDED, 2.1)
    assert allowed(DeviceClass.EDGE_SERVER, 0.4)
    assert not allowed(DeviceClass.EDGE_SERVER, 0.6)
    assert not verdict.refusal(but(loss_high=5.0), LIMITS), "a brief search only shows the interval"


def but(**changes) -> Figures:
    return msgspec.structs.replace(GOOD, **changes)


def test_what_is_smaller_faster_and_does_its_job_may_be_released():
    assert verdict.refusal(GOOD, LIMITS) == ""


@pytest.mark.parametrize(
    ("figures", "sentence"),
    [
        (but(finite=False), "NaN or infinity"),
        (but(p95_ms=120.0), "120.0 ms"),
        (but(memory_bytes=3 * 2**30), "3,072 MiB of memory; 2,048 MiB are allowed"),
        (but(cosine=0.8), "cosine similarity of 0.8000; at least 0.9"),
        (but(loss_points=2.1), "It lost 2.1 points"),
    ],
)
def test_each_gate_says_the_figure_that_decided(figures, sentence):
    assert sentence in verdict.refusal(figures, LIMITS)


def test_actions_beyond_the_limits_are_held_to_the_originals():
    limits = dataclasses.replace(LIMITS, out_of_range=0.01 + verdict.RANGE)
    assert not verdict.refusal(but(out_of_range=0.029), limits)
    refused = verdict.refusal(but(out_of_range=0.05), limits)
    assert refused == "5.0 % of its actions lie beyond the card's limits; 3.0 % are allowed."
    assert not verdict.refusal(but(out_of_range=0.5), LIMITS, original=True)


def test_zeros_pass_but_never_win_and_say_what_they_are_good_for():
    tried = trials("original", "zeros")
    tried[1].recipe = {"sparsify": {"share": 0.5}, "store": {"bits": 8}}
    winner = verdict.judge(tried, [ORIGINAL, but(compressed_bytes=600_000)], LIMITS)
    assert winner is tried[0]
    assert tried[1].verdict == "passed"
    assert tried[1].score is not None
    assert "smaller to send only: compressed it has 600,000 bytes of 1,000,000" in tried[1].reason


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


def test_the_latency_that_counts_is_the_one_that_was_timed_in_turn():
    """Milliseconds of two trials are of two moments: a busy one must not decide."""
    busy = but(p50_ms=9.0, p95_ms=12.0)
    assert verdict.score(busy, ORIGINAL, LIMITS) == verdict.score(GOOD, ORIGINAL, LIMITS)


def test_a_size_limit_is_a_gate_and_the_recipes_compression_is_not():
    small = dataclasses.replace(LIMITS, size=500_000)
    assert "1,000,000 bytes; 500,000 are allowed" in verdict.refusal(GOOD, small)
    assert verdict.refusal(but(bytes=3_900_000), LIMITS) == ""
    missed = verdict.why_won(but(bytes=3_900_000), ORIGINAL, LIMITS, 0.5, 2)
    assert "goal of 1,600,000 bytes was not reached" in missed


def test_without_episodes_fidelity_alone_has_to_say_enough():
    def least(episodes: bool) -> float:
        return verdict.least_cosine(Constraints(), episodes=episodes)

    assert least(episodes=False) > least(episodes=True) > 0
    assert verdict.least_cosine(Constraints(min_cosine=0.5), episodes=False) == 0.5


def test_a_loss_within_the_noise_of_the_gate_says_so():
    near = but(loss_points=1.5, loss_low=-0.5, loss_high=3.4)
    assert verdict.refusal(near, LIMITS) == ""
    assert "Within the noise of 300 episodes it could lose more than the 2 allowed" in verdict.why_won(
        near, ORIGINAL, LIMITS, 0.3, 2
    )


def test_the_original_is_only_held_to_what_a_device_needs():
    slow = msgspec.structs.replace(ORIGINAL, p95_ms=150.0)
    assert verdict.refusal(ORIGINAL, LIMITS, original=True) == ""
    assert "150.0 ms" in verdict.refusal(slow, LIMITS, original=True)


def test_the_least_objective_wins_and_the_gentler_change_where_two_are_equal():
    assert verdict.best([1.0, 0.3, None, 0.2]) == 3
    assert verdict.best([0.5, 0.5]) == 0
    assert verdict.best([None, None]) is None


def test_the_winner_and_the_rest_say_why():
    won = verdict.why_won(GOOD, ORIGINAL, LIMITS, 0.26, 2)
    assert "4.00 times smaller" in won
    assert "95 % interval -0.5 to 1.5" in won
    passed = verdict.why_passed(ORIGINAL, ORIGINAL, LIMITS, 1.02, "fp16", 0.26)
    assert passed == "It passed, but fp16 has the lesser objective (0.260 against 1.020)."


def trials(*names: str) -> list[Trial]:
    return [Trial(name=name, key=name, recipe={}, artifact=f"/cache/{name}") for name in names]


def test_when_nothing_is_better_the_original_stays_and_says_why_for_each():
    tried = trials("original", "slow", "wrong", "broken")
    tried[3].reason = "It failed: it crashed with SIGSEGV."
    slow = but(ratio_p50=1.2, ratio_low=1.15, ratio_high=1.25, loss_points=0.4, loss_low=-1.0, loss_high=1.8)
    winner = verdict.judge(tried, [ORIGINAL, slow, but(cosine=0.2), None], LIMITS)
    assert winner is tried[0]
    assert [each.verdict for each in tried] == ["won", "lost", "lost", "failed"]
    assert [each.artifact for each in tried] == ["/cache/original", None, None, "/cache/broken"]
    for part in ("so it stays", "slow: It is both slower", "1.20 times", "0.2000", "SIGSEGV"):
        assert part in winner.reason


def test_a_variant_that_passes_and_costs_less_wins_over_the_original():
    tried = trials("original", "half", "quarter")
    winner = verdict.judge(tried, [ORIGINAL, but(bytes=2_000_000), GOOD], LIMITS)
    assert winner is tried[2]
    assert [each.verdict for each in tried] == ["passed", "passed", "won"]
    assert tried[0].reason.startswith("It passed, but quarter has the lesser objective")
    assert "of 3 that passed" in winner.reason


def test_when_not_even_the_original_passes_nothing_wins():
    tried = trials("original", "same")
    late = msgspec.structs.replace(ORIGINAL, p95_ms=500.0)
    assert verdict.judge(tried, [late, but(p95_ms=400.0)], LIMITS) is None
    assert [each.verdict for each in tried] == ["lost", "lost"]
