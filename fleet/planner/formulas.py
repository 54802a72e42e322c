"""The formulas of planning, each with its units. Pure."""

from dataclasses import dataclass
from math import inf, isinf

#: A month, for what is counted by the month: 30 days.
MONTH_DAYS = 30


@dataclass(frozen=True, slots=True)
class Latency:
    """L_total = L_compute + L_transmit + L_network + L_other of one decision, in milliseconds. None: not known."""

    compute: float | None
    transmit: float | None = 0.0
    network: float | None = 0.0
    other: float | None = 0.0

    @property
    def parts(self) -> tuple[float | None, ...]:
        return self.compute, self.transmit, self.network, self.other

    @property
    def total(self) -> float | None:
        """None while a part is not known, unless another part never ends."""
        return added(*self.parts)


def added(*parts: float | None) -> float | None:
    """The sum; infinite as soon as one part is, else None as soon as one is not known."""
    if any(part is not None and isinf(part) for part in parts):
        return inf
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def transmit_ms(size: float | None, link: float | None) -> float | None:
    """L_transmit = D / W: bytes over bytes a second, in milliseconds. Infinite where there is no network (W = 0)."""
    if link == 0:
        return inf
    if size is None or link is None:
        return None
    return 1000 * size / link


def bandwidth(size: float | None, seconds: float | None) -> float | None:
    """B = D / T in bytes a second: 10 MB in 1 s and 1 MB in 0.1 s are 10 MB/s each. Nothing takes nothing."""
    if size == 0:
        return 0.0
    if size is None or seconds is None:
        return None
    return size / seconds if seconds > 0 else inf


def use(used: float, total: float) -> float:
    """U = used / total, a share that may exceed 1. Of nothing, what asks for anything takes infinitely much."""
    return used / total if total else (inf if used else 0.0)


def mixed(one: float | None, other: float | None, share: float) -> float | None:
    """The mean of two figures, of which the other counts with `share` (0 to 1); a part without weight is not asked."""
    if share == 0:
        return one
    if share == 1:
        return other
    if one is None or other is None:
        return inf if inf in (one, other) else None
    return (1 - share) * one + share * other


def blended(one: Latency, other: Latency, share: float) -> Latency:
    """The mean latency, part by part, when a `share` of the decisions takes the other way."""
    pairs = zip(one.parts, other.parts, strict=True)
    return Latency(*(mixed(mine, theirs, share) for mine, theirs in pairs))


def longest(*totals: float | None) -> float | None:
    """The largest; infinite as soon as one is, else None as soon as one is not known."""
    if inf in totals:
        return inf
    known = [total for total in totals if total is not None]
    return max(known) if len(known) == len(totals) else None


def monthly(rate: float, hours: float) -> float:
    """What `rate` a second makes in a month of 30 days with so many hours of use a day."""
    return rate * hours * 3600 * MONTH_DAYS


def change(now: float, before: float) -> float:
    """How much less or more `now` is than `before`, as a share: −0.89 for 32 against 300."""
    return (now - before) / before
