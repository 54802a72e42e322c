"""Latencies as counts in log-spaced bins, which can be added up: a fleet's p95 is then the p95 of all its decisions.

The bins are those of DDSketch (Masson, Rim and Lee, PVLDB 12, 2019) with a relative accuracy of 2 %: bin k holds what
is above γ^(k−1) and at most γ^k milliseconds, γ = (1 + 0.02) / (1 − 0.02). Adding two sketches is adding their counts,
bin by bin, and loses nothing.
"""

import math
from collections.abc import Iterable, Mapping

ACCURACY = 0.02
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_PER_LOG = 1 / math.log(_GAMMA)
#: Bins reach from 6 µs to nine days; what lies outside counts in the first or the last one.
FIRST, LAST = -128, 512
#: Bins of one sample. A window of decisions has a dozen or two; of more the fastest share a bin.
MOST = 40


def bin_of(milliseconds: float) -> int:
    if milliseconds <= 0:
        return FIRST
    return min(max(math.ceil(math.log(milliseconds) * _PER_LOG), FIRST), LAST)


def middle(number: int) -> float:
    """The milliseconds that a bin stands for: within 2 % of whatever is in it."""
    return _GAMMA**number * 2 / (1 + _GAMMA)


def quantile(bins: Mapping[int, int], share: float) -> float | None:
    """Milliseconds that `share` (0 to 1) of the decisions do not exceed, within 2 %; None without a decision."""
    rank = share * (sum(bins.values()) - 1)
    seen = 0
    for number in sorted(bins):
        seen += bins[number]
        if seen > rank:
            return middle(number)
    return None


def added(sketches: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """One sketch of all decisions of several."""
    total: dict[int, int] = {}
    for bins in sketches:
        for number, count in bins.items():
            total[number] = total.get(number, 0) + count
    return total


def bounded(bins: Mapping[int, int], most: int = MOST) -> dict[int, int]:
    """At most so many bins: the slowest stay as they are, the rest count in the fastest that is kept."""
    numbers = sorted(bins)
    kept = numbers[-most:]
    made = {number: bins[number] for number in kept}
    for number in numbers[: -len(kept) or None]:
        made[kept[0]] += bins[number]
    return made
