"""Counts decisions and their latency for whoever looks: the monitor, or the watch over a new variant."""

import math
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from agent.wire import latency

#: Latencies that one window keeps; of more decisions the latest count.
KEPT = 2000


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of one decision in each stage; the whole is their sum.

    queue: waiting for the decision before it; network: asking the server, in hybrid mode, also in vain.
    """

    queue: float = 0.0
    preprocess: float = 0.0
    compute: float = 0.0
    postprocess: float = 0.0
    network: float = 0.0

    @property
    def total(self) -> float:
        return self.queue + self.preprocess + self.compute + self.postprocess + self.network


@dataclass(frozen=True, slots=True)
class Window:
    """What happened between two looks. late: decisions past their deadline; errors do not count NaN answers.

    refused: requests whose deadline passed while they waited; over_…: decisions that broke that budget. ahead: chunks
    that were asked for ahead of time; age: the mean age of what they were decided on, in ms, when they were begun.
    remote_asked, remote_answered: requests that were sent to the server, and those that it answered; remote_bytes: what
    was sent with them.
    """

    decisions: int = 0
    late: int = 0
    refused: int = 0
    over_preprocess: int = 0
    over_compute: int = 0
    over_total: int = 0
    errors: int = 0
    not_finite: int = 0
    cache_lookups: int = 0
    cache_hits: int = 0
    episodes: int = 0
    successes: int = 0
    ahead: int = 0
    age: float = 0.0
    remote_asked: int = 0
    remote_answered: int = 0
    remote_bytes: int = 0
    latencies: tuple[float, ...] = ()
    #: All decisions by their latency, in the bins of agent.wire.latency.
    bins: Mapping[int, int] = field(default_factory=dict)
    #: Mean of each stage; zeros without a decision.
    stages: Timing = field(default_factory=Timing)

    def percentile(self, share: float) -> float | None:
        return percentile(self.latencies, share) if self.latencies else None


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank: the least value that `share` (0 to 1) of all values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


STAGES = ("queue", "preprocess", "compute", "postprocess", "network")
_COUNTS = tuple(each.name for each in fields(Window) if each.name not in ("age", "latencies", "bins", "stages"))


class Meter:
    """One reader's counters. Any thread may count; the reader looks.

    With local_only, it knows of no server: neither decisions that were made there, nor the time of asking in vain.
    """

    def __init__(self, *, local_only: bool = False) -> None:
        self.local_only = local_only
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self._counts = dict.fromkeys(_COUNTS, 0)
        self._sums = [0.0] * len(STAGES)
        self._ages = 0.0
        self._latencies: deque[float] = deque(maxlen=KEPT)
        self._bins: dict[int, int] = {}

    def decided(self, timing: Timing, *, late: bool, over: Sequence[str] = ()) -> None:
        """One decision; over names the budgets that it broke."""
        with self._lock:
            self._counts["decisions"] += 1
            self._counts["late"] += late
            for name in over:
                self._counts[f"over_{name}"] += 1
            self._latencies.append(timing.total)
            number = latency.bin_of(timing.total)
            self._bins[number] = self._bins.get(number, 0) + 1
            stages = (timing.queue, timing.preprocess, timing.compute, timing.postprocess, timing.network)
            self._sums = [total + value for total, value in zip(self._sums, stages, strict=True)]

    def begun(self, age: float) -> None:
        """Actions that were asked for ahead of time are carried out now; age in ms is that of their observation."""
        with self._lock:
            self._counts["ahead"] += 1
            self._ages += age

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
            age = self._ages / (self._counts["ahead"] or 1)
            latencies, bins = tuple(self._latencies), dict(self._bins)
            return Window(**self._counts, age=age, latencies=latencies, bins=bins, stages=means)

    def take(self) -> Window:
        """Everything since the last `take`, and begin anew."""
        window = self.look()
        with self._lock:
            self._clear()
        return window
