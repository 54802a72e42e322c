"""What a reading makes of an alert: a pure function of the alert's state, the reading, a clock and the rule's policy.

An alert is nothing, then pending while its condition is met for shorter than the tolerance, then open, then recovered.
A reading between the threshold and the clearing value does neither: it keeps what is open open, and opens nothing. One
that is not known (the device is away, or never said) ends what is pending, and keeps what is open.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Stage(StrEnum):
    PENDING = "pending"
    OPEN = "open"
    RECOVERED = "recovered"


class Severity(StrEnum):
    """From the worst on."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Step(StrEnum):
    """What to do with the row of an alert."""

    NOTHING = "nothing"
    BEGIN = "begin"  # a pending row
    OPEN = "open"  # it counts from now on; where there is no row, one is made
    RESTART = "restart"  # the tolerance begins anew
    DROP = "drop"  # it came to nothing
    CALM = "calm"  # the recovery time begins
    UPSET = "upset"  # it does not recover after all
    RECOVER = "recover"
    END = "end"  # the rule says nothing about this device any more


@dataclass(frozen=True, slots=True)
class Policy:
    """When a reading is bad, when it is good again, and for how long each has to hold."""

    above: bool = True
    threshold: float = 0.5
    clear: float | None = None
    tolerance: timedelta = timedelta(0)
    recovery: timedelta = timedelta(0)

    def bad(self, value: float) -> bool:
        return value > self.threshold if self.above else value < self.threshold

    def good(self, value: float) -> bool:
        if self.clear is None:
            return not self.bad(value)
        return value <= self.clear if self.above else value >= self.clear


@dataclass(frozen=True, slots=True)
class State:
    """An alert that is pending or open. opens: openings on this device within an hour, this one included."""

    stage: Stage
    since: datetime
    calm_since: datetime | None = None
    opens: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What is measured now, None where nobody knows. began: since when, where the condition itself knows that."""

    value: float | None
    began: datetime | None = None


#: An alert that opens for the third time within this window flaps: it stays open until it was calm for so long.
FLAP_WINDOW = timedelta(hours=1)
FLAP_OPENS = 3
FLAP_CALM = timedelta(minutes=15)


def decide(state: State | None, reading: Reading | None, now: datetime, policy: Policy) -> Step:
    """reading is None where the rule does not apply to the device (any more)."""
    if reading is None:
        return Step.NOTHING if state is None else Step.DROP if state.stage is Stage.PENDING else Step.END
    if state is None:
        return _nothing_yet(reading, now, policy)
    if state.stage is Stage.PENDING:
        return _pending(state, reading, now, policy)
    return _open(state, reading, now, policy)


def _nothing_yet(reading: Reading, now: datetime, policy: Policy) -> Step:
    if reading.value is None or not policy.bad(reading.value):
        return Step.NOTHING
    return Step.OPEN if now - began(reading, now) >= policy.tolerance else Step.BEGIN


def _pending(state: State, reading: Reading, now: datetime, policy: Policy) -> Step:
    if reading.value is None or not policy.bad(reading.value):
        return Step.DROP
    if state.since > now:  # the server's clock was put back: what has passed is not known
        return Step.RESTART
    return Step.OPEN if now - state.since >= policy.tolerance else Step.NOTHING


def _open(state: State, reading: Reading, now: datetime, policy: Policy) -> Step:
    if reading.value is None or not policy.good(reading.value):
        return Step.NOTHING if state.calm_since is None else Step.UPSET
    wait = recovery(policy, state.opens)
    if state.calm_since is None or state.calm_since > now:
        return Step.CALM if wait else Step.RECOVER
    return Step.RECOVER if now - state.calm_since >= wait else Step.NOTHING


def began(reading: Reading, now: datetime) -> datetime:
    return min(reading.began or now, now)


def flaps(opens: int) -> bool:
    return opens >= FLAP_OPENS


def told(opens: int) -> bool:
    """Whether anybody is told of the opening: of the third, that it flaps, and of none after it."""
    return opens <= FLAP_OPENS


def recovery(policy: Policy, opens: int) -> timedelta:
    """How long it has to be good. One that flaps has to be calm for longer."""
    return max(policy.recovery, FLAP_CALM) if flaps(opens) else policy.recovery
