"""Intervals for shares and for paired differences of shares. Pure."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Of a 95 % interval.
Z = 1.959963984540054


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % score interval of a share (Wilson, JASA 22, 1927): right also near 0 and 1, where others are not."""
    if trials < 1:
        raise ValueError("an interval needs at least one trial")
    share, square = successes / trials, Z * Z
    middle = share + square / (2 * trials)
    spread = Z * math.sqrt(share * (1 - share) / trials + square / (4 * trials * trials))
    scale = 1 + square / trials
    # At 0 and 1 the bound is the share itself, but for rounding.
    return max(0.0, min(share, (middle - spread) / scale)), min(1.0, max(share, (middle + spread) / scale))


def paired_loss(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Loss of success, before − after, with its 95 % interval, all as shares; episode i of both is the same world.

    Newcombe, Statistics in Medicine 17 (1998) 2635–2650, method 10: the two Wilson intervals, put together with the
    correlation of the pairs, continuity-corrected where the concordant pairs outweigh.
    """
    if before.shape != after.shape:
        raise ValueError(f"{before.size} and {after.size} episodes are no pairs")
    n = before.size
    both, neither = int((before & after).sum()), int((~before & ~after).sum())
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    share_before, share_after = (both + lost) / n, (both + won) / n
    low_before, high_before = wilson(both + lost, n)
    low_after, high_after = wilson(both + won, n)
    weight = (both + lost) * (won + neither) * (both + won) * (lost + neither)
    link: float = both * neither - lost * won
    if link > 0:
        link = max(link - n / 2, 0)
    phi = link / math.sqrt(weight) if weight else 0.0

    def spread(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))

    loss = share_before - share_after
    low = loss - spread(share_before - low_before, high_after - share_after)
    high = loss + spread(high_before - share_before, share_after - low_after)
    return loss, max(-1.0, low), min(1.0, high)


def ratio_of_medians(rounds: Sequence[tuple[Sequence[float], Sequence[float]]]) -> tuple[float, float, float]:
    """How many times as long `b` takes as `a`, over rounds of (times of a, times of b), with a 95 % interval.

    Each round gives one ratio of medians; their median is the estimate, and its interval is the order statistics of
    the binomial (David & Nagaraja, Order Statistics, 2003, section 7.1): no assumption on how noise is spread, and
    a disturbance that lasts a few rounds does not move it.
    """
    ratios: NDArray[Any] = np.sort([np.median(b) / np.median(a) for a, b in rounds])
    n = len(ratios)
    rank = max(0, math.floor(n / 2 - Z * math.sqrt(n) / 2))
    return float(np.median(ratios)), float(ratios[rank]), float(ratios[n - 1 - rank])
