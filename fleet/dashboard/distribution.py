"""Distributions as they are drawn: latency sketches in even steps, and how sure a share is. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext

from agent.wire.latency import ACCURACY, middle
from fleet.dashboard.scale import Ruler, ruler

Bins = Mapping[int, int]
#: Bars up to a ruler's end; what is slower still stands in the last one.
BARS = 30


def edges(number: int) -> tuple[float, float]:
    """The milliseconds between which the decisions of a sketch's bin lie (agent.wire.latency)."""
    return middle(number) / (1 + ACCURACY), middle(number) / (1 - ACCURACY)


def within(bins: Bins, limit: float) -> float | None:
    """The share (0 to 1) of the decisions that took at most `limit` ms; None without a decision.

    Of a bin that the limit cuts, as much counts as lies before it.
    """
    total = sum(bins.values())
    return sum(count * _before(number, limit) for number, count in bins.items()) / total if total else None


def _before(number: int, limit: float) -> float:
    low, high = edges(number)
    return min(max((limit - low) / (high - low), 0.0), 1.0)


def evenly(bins: Bins, width: float, steps: int) -> list[float]:
    """How many decisions fall into each of `steps` steps of `width` ms; the last one has all that is slower.

    A bin's decisions are spread over its own width: bins grow and steps do not, and would else make a comb.
    """
    counts = [0.0] * steps
    for number, count in bins.items():
        low, high = edges(number)
        first, last = min(int(low / width), steps - 1), min(int(high / width), steps - 1)
        for step in range(first, last + 1):
            end = math.inf if step == steps - 1 else (step + 1) * width
            counts[step] += count * (min(end, high) - max(step * width, low)) / (high - low)
    return counts


@dataclass(frozen=True, slots=True)
class Bar:
    """Decisions whose latency lies between two, in percent of the drawing. late: at or beyond the promise."""

    label: str
    x: str
    width: str
    y: str
    height: str
    late: bool


@dataclass(frozen=True, slots=True)
class Histogram:
    """Decisions by latency against the promise. `peak` is the tallest bar's share of them."""

    bars: list[Bar]
    ruler: Ruler
    peak: float


def histogram(bins: Bins, promise_ms: float) -> Histogram | None:
    """None without a decision."""
    total = sum(bins.values())
    if not total:
        return None
    measured = ruler(promise_ms)
    width = measured.top / BARS
    counts = evenly(bins, width, BARS)
    peak = max(counts)
    bars = []
    for number, count in enumerate(counts):
        if count < 0.5:
            continue
        low, tall = width * number, count / peak * 100
        span = (
            gettext("{low} ms and more").format(low=f"{low:g}")
            if number == BARS - 1
            else gettext("{low} to {high} ms").format(low=f"{low:g}", high=f"{low + width:g}")
        )
        bars.append(
            Bar(
                gettext("{span}: {share} % of the decisions").format(span=span, share=f"{count / total * 100:.2f}"),
                f"{number / BARS * 100:.3f}",
                f"{100 / BARS - 0.3:.3f}",
                f"{100 - tall:.2f}",
                f"{tall:.2f}",
                low >= promise_ms,
            )
        )
    return Histogram(bars, measured, peak / total)


def density(bins: Bins, width: float, steps: int) -> list[float]:
    """Percent of the decisions in each step, what is beyond the last one left out."""
    total = sum(bins.values())
    counts = evenly(bins, width, steps + 1)[:-1]
    return [round(count / total * 100, 4) for count in counts] if total else []


def likelihood(successes: int, trials: int, shares: Sequence[float]) -> list[float]:
    """How likely each share of success is after so many trials, as parts of the likeliest: Beta(s + 1, n − s + 1).

    Bayes with a flat prior (Gelman et al., Bayesian Data Analysis, 3rd ed., section 2.4).
    """
    failures = trials - successes

    def logarithm(share: float) -> float:
        if not 0 < share < 1:
            known = (share == 0 and not successes) or (share == 1 and not failures)
            return 0.0 if known else -math.inf
        return successes * math.log(share) + failures * math.log1p(-share)

    most = logarithm(successes / trials) if trials else 0.0
    return [round(math.exp(logarithm(share) - most), 5) for share in shares]


def five(values: Sequence[float]) -> tuple[float, float, float, float, float]:
    """5th, 25th, 50th, 75th and 95th percentile; `values` is not empty."""
    ranked = sorted(values)

    def at(share: float) -> float:
        place = share * (len(ranked) - 1)
        low = int(place)
        high = min(low + 1, len(ranked) - 1)
        return ranked[low] + (ranked[high] - ranked[low]) * (place - low)

    return at(0.05), at(0.25), at(0.5), at(0.75), at(0.95)
