"""Counts decisions and their latency for whoever looks: the monitor, or the watch over a new variant."""

import math
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

#: Latencies that one window keeps; of more decisions the latest count.
KEPT = 2000


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of one decision in each stage. queue: waiting for the decision before it."""

    queue: float = 0.0
    preprocess: float = 0.0
    compute: float = 0.0
    postprocess: float = 0.0

    @property
    def total(self) -> float:
        return self.queue + self.preprocess + self.compute + self.postprocess


@dataclass(frozen=True, slots=True)
class Window:
    """What happened between two looks. late: decisions past their deadline; errors do not count NaN answers."""

    decisions: int = 0
    late: int = 0
    errors: int = 0
    not_finite: int = 0
    cache_lookups: int = 0
    cache_hits: int = 0
    episodes: int = 0
    successes: int = 0
    latencies: tuple[float, ...] = ()
    #: Mean of each stage; zeros without a decision.
    stages: Timing = field(default_factory=Timing)

    def percentile(self, share: float) -> float | None:
        return percentile(self.latencies, share) if self.latencies else None


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank: the least value that `share` (0 to 1) of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class Meter:
    """One reader's counters. Any thread may count; the reader looks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self._counts = dict.fromkeys(
            ("decisions", "late", "errors", "not_finite", "cache_lookups", "cache_hits", "episodes", "successes"), 0
        )
        self._sums = [0.0, 0.0, 0.0, 0.0]
        self._latencies: deque[float] = deque(maxlen=KEPT)

    def decided(self, timing: Timing, *, late: bool) -> None:
        with self._lock:
            self._counts["decisions"] += 1
            self._counts["late"] += late
            self._latencies.append(timing.total)
            stages = (timing.queue, timing.preprocess, timing.compute, timing.postprocess)
            self._sums = [total + value for total, value in zip(self._sums, stages, strict=True)]

    def count(self, **amounts: int) -> None:
        """Add to counters of Window by name."""
        with self._lock:
            for name, amount in amounts.items():
                self._counts[name] += amount

    def look(self) -> Window:
        """Everything since the last `take`."""
        with self._lock:
            decisions = self._counts["decisions"] or 1
            means = Timing(*(total / decisions for total in self._sums))
            return Window(**self._counts, latencies=tuple(self._latencies), stages=means)

    def take(self) -> Window:
        """Everything since the last `take`, and begin anew."""
        window = self.look()
        with self._lock:
            self._clear()
        return window
