import numpy as np
import pytest

from fleet.optimizer.statistics import paired_loss, ratio_of_medians, wilson


def pairs(both: int, lost: int, won: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    before = np.repeat([True, True, False, False], [both, lost, won, neither])
    after = np.repeat([True, False, True, False], [both, lost, won, neither])
    return before, after


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_the_published_one(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998) 2635-2650, table III, method 10.
    [((36, 12, 2, 0), 0.0569, 0.3404), ((20, 12, 2, 16), 0.0562, 0.3290), ((54, 0, 0, 0), -0.0664, 0.0664)],
)
def test_the_paired_interval_is_the_published_one(counts, low, high):
    loss, found_low, found_high = paired_loss(*pairs(*counts))
    assert loss == pytest.approx((counts[1] - counts[2]) / sum(counts))
    assert (found_low, found_high) == pytest.approx((low, high), abs=5e-4)


def test_the_interval_of_pairs_holds_the_truth_as_often_as_it_says():
    """2,000 searches of 300 episodes, of which the variant truly loses one point."""
    random = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        before = random.random(300) < 0.97
        flips = random.random(300)
        after = np.where(before, flips >= 0.02, flips < 0.3)
        _, low, high = paired_loss(before, after)
        held += low <= 0.97 - (0.97 * 0.98 + 0.03 * 0.3) <= high
    assert 0.93 <= held / 2000 <= 0.99


def test_pairs_of_different_length_are_no_pairs():
    with pytest.raises(ValueError, match="3 and 4 episodes"):
        paired_loss(np.ones(3, bool), np.ones(4, bool))


def test_a_ratio_of_latencies_survives_a_disturbance_of_a_few_rounds():
    random = np.random.default_rng(1)
    quiet = [(random.normal(10, 0.3, 10), random.normal(8, 0.3, 10)) for _ in range(20)]
    disturbed = [(a, b * 9) for a, b in quiet[:3]] + quiet[3:]
    ratio, low, high = ratio_of_medians(disturbed)
    assert low <= ratio <= high
    assert ratio == pytest.approx(0.8, abs=0.02)
    assert high < 0.85
