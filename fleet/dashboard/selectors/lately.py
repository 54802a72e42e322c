"""What the fleet's decisions took lately: latency, bandwidth that they did not need, energy, success."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.translation import gettext_lazy

from fleet.dashboard.distribution import Histogram, histogram, within
from fleet.dashboard.figures import share
from fleet.dashboard.selectors.naming import Observed
from fleet.telemetry.summary import Summary, merged, summaries

#: The times that the overview looks back, with what an address calls them.
SPANS = {
    "1h": (gettext_lazy("1 h"), timedelta(hours=1)),
    "24h": (gettext_lazy("24 h"), timedelta(hours=24)),
    "7d": (gettext_lazy("7 d"), timedelta(days=7)),
}
DEFAULT_SPAN = "1h"

#: By device class and manifest.
Parts = Mapping[tuple[str, ...], Summary]


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """What a cloud that decides for these devices would have been sent, against what they sent; in bytes.

    would is decisions × the observation's bytes by the policy card of what each device ran. sent is everything that the
    devices sent in that time, whatever for. unknown are decisions that are left out of both: no card says how large an
    observation is, or the device does not report what it sends.
    """

    decisions: int
    would: float
    sent: float
    unknown: int
    seconds: float

    @property
    def saved(self) -> float:
        return self.would - self.sent

    @property
    def share(self) -> float | None:
        return share(self.saved, self.would)

    @property
    def rate(self) -> float:
        """Saved bytes a second of all devices together."""
        return self.saved / self.seconds

    @property
    def each(self) -> float | None:
        """Bytes of an observation, in the mean of the decisions."""
        return share(self.would, self.decisions)


@dataclass(frozen=True, slots=True)
class Lately:
    """The whole fleet's decisions of some time."""

    label: str
    whole: Summary
    promise_ms: float
    bandwidth: Bandwidth

    @property
    def decisions(self) -> int:
        return int(self.whole.sums["decisions"])

    @property
    def timed(self) -> int:
        return sum(self.whole.bins.values())

    @property
    def p50(self) -> float | None:
        return self.whole.latency(0.5)

    @property
    def p95(self) -> float | None:
        return self.whole.latency(0.95)

    @property
    def p99(self) -> float | None:
        return self.whole.latency(0.99)

    @property
    def spare(self) -> float | None:
        """Milliseconds between p95 and the promise; negative when it is broken."""
        return None if self.p95 is None else self.promise_ms - self.p95

    @property
    def on_time(self) -> float | None:
        return within(self.whole.bins, self.promise_ms)

    @property
    def late(self) -> float | None:
        return None if self.on_time is None else 1 - self.on_time

    @property
    def histogram(self) -> Histogram | None:
        return histogram(self.whole.bins, self.promise_ms)

    @property
    def energy(self) -> float | None:
        return self.whole.energy

    @property
    def energy_all(self) -> float:
        """Joules of all decisions together."""
        return self.whole.sums["energy_sum"]

    @property
    def actions(self) -> int:
        """Decisions whose energy is known."""
        return int(self.whole.sums["energy_count"])

    @property
    def success(self) -> float | None:
        return self.whole.success

    @property
    def episodes(self) -> int:
        return int(self.whole.sums["episodes"])

    @property
    def wrong(self) -> int:
        """Decisions that ended in an error, or in numbers that are none."""
        return int(self.whole.sums["errors"] + self.whole.sums["not_finite"])


def parts(span: str, now: datetime) -> Parts:
    """One query."""
    return summaries(now - SPANS[span][1], now, "device_class", "manifest")


def lately(span: str, found: Parts, names: Mapping[str, Observed], promise_ms: float) -> Lately:
    label, length = SPANS[span]
    used = bandwidth(((key[1], each) for key, each in found.items()), names, length.total_seconds())
    return Lately(label, merged(found.values()), promise_ms, used)


def bandwidth(found: Iterable[tuple[str, Summary]], names: Mapping[str, Observed], seconds: float) -> Bandwidth:
    """found: manifests with what was decided with them."""
    decisions, unknown, would, sent = 0, 0, 0.0, 0.0
    for manifest, each in found:
        known = names.get(manifest)
        if known is None or known.observation is None or each.sent is None:
            unknown += int(each.sums["decisions"])
            continue
        decisions += int(each.sums["decisions"])
        would += each.sums["decisions"] * known.observation
        sent += each.sent
    return Bandwidth(decisions, would, sent, unknown, seconds)
