"""What a rollout should do next: a pure function of counts, figures, limits and a clock.

A phase opens the next one when enough of its devices have taken the variant and it has run well for the soak time. It
acts when too many failed, or when the variant does worse than the one before it on the same devices. What a person has
accepted by resuming (`Counts.forgiven`) is counted on neither side.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil


class Action(StrEnum):
    """What to do. The last three are also what an error threshold may order."""

    HOLD = "hold"
    ADVANCE = "advance"
    PAUSE = "pause"
    ABORT = "abort"
    ROLL_BACK = "roll_back"


#: What an error threshold may order.
ON_ERROR = (Action.PAUSE, Action.ABORT, Action.ROLL_BACK)


@dataclass(frozen=True, slots=True)
class Counts:
    """Devices of one phase. offline are those of the open whose link is down; forgiven are those of the bad that a
    person has accepted. Who was skipped, canceled or superseded is not counted."""

    good: int = 0
    bad: int = 0
    open: int = 0
    offline: int = 0
    forgiven: int = 0

    @property
    def failed(self) -> int:
        return max(0, self.bad - self.forgiven)

    @property
    def total(self) -> int:
        return self.good + self.failed + self.open


@dataclass(frozen=True, slots=True)
class Figures:
    """What one variant did on a phase's devices; None where nothing was measured.

    latency_p95: mean of the devices' p95 in ms, weighted by decisions. error_rate: share of decisions that failed or
    answered NaN. success: share of episodes. energy: mean joules per action, weighted by decisions.
    """

    decisions: int = 0
    episodes: int = 0
    latency_p95: float | None = None
    error_rate: float | None = None
    success: float | None = None
    energy: float | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds of one phase, all of them shares (0.05 is 5 %).

    success: of its devices, how many have to run the variant before the next phase opens. failures: from which share of
    failed devices on `on_error` is done. The others are against the variant before: how much p95 latency and energy per
    action may rise (as shares of it), how many decisions more may fail and how many episodes fewer succeed (as
    differences of shares). None is no limit.
    """

    success: float = 1.0
    failures: float | None = 0.1
    on_error: Action = Action.PAUSE
    soak: timedelta = timedelta(0)
    latency_rise: float | None = None
    error_rise: float | None = None
    success_loss: float | None = None
    energy_rise: float | None = None

    @property
    def compares(self) -> bool:
        """Whether inference figures are looked at."""
        return any(
            limit is not None for limit in (self.latency_rise, self.error_rise, self.success_loss, self.energy_rise)
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do and why. next is when the clock alone may change it."""

    action: Action
    reason: str
    next: datetime | None = None


#: Fewer decisions or episodes than this on either side are no comparison.
LEAST_DECISIONS = 30
LEAST_EPISODES = 20


@dataclass(frozen=True, slots=True)
class Look:
    """Everything a phase is judged by. settled_at is when enough of its devices had taken the variant, None before."""

    counts: Counts
    before: Figures = field(default_factory=Figures)
    after: Figures = field(default_factory=Figures)
    settled_at: datetime | None = None
    #: A person has seen worse figures and resumed.
    figures_accepted: bool = False
    #: Whether anybody has looked for figures yet.
    measured: bool = True


def decide(look: Look, limits: Limits, now: datetime, *, last: bool = False) -> Decision:
    """What to do about the phase that was opened last. The last of all has none to open: it ends with its devices."""
    counts = look.counts
    if reason := breach(look, limits):
        return Decision(limits.on_error, reason)
    if not counts.total:
        return Decision(Action.ADVANCE, "No device of this phase is left to wait for.")
    if last and counts.open:
        return Decision(Action.HOLD, f"{counts.good} of {_devices(counts.total)} took it.{_offline(counts)}")
    if not last and counts.good < needed(counts, limits):
        return _not_enough(counts, limits)
    took = f"{counts.good} of {_devices(counts.total)} took it"
    settled = look.settled_at or now
    if now < settled + limits.soak:
        return Decision(Action.HOLD, f"{took}; they are watched for the soak time.", settled + limits.soak)
    if limits.compares and not look.figures_accepted and _comes(look):
        return Decision(Action.HOLD, f"{took}; telemetry of the new variant is not here yet.")
    return Decision(Action.ADVANCE, f"{took}.")


def breach(look: Look, limits: Limits) -> str:
    """Why an error threshold acts; empty when none does. Also for phases that were passed: devices may fail late."""
    counts = look.counts
    if counts.failed and limits.failures is not None and counts.failed / counts.total >= limits.failures:
        return (
            f"{counts.failed} of {_devices(counts.total)} failed ({counts.failed / counts.total:.0%}); "
            f"the limit is {limits.failures:.0%}."
        )
    return "" if look.figures_accepted else worse(look.before, look.after, limits)


def worse(before: Figures, after: Figures, limits: Limits) -> str:
    """How the new variant does worse than its limits allow, in a sentence; empty when it does not, or nobody knows."""
    if after.decisions >= LEAST_DECISIONS:
        measured = before.decisions >= LEAST_DECISIONS
        if limits.error_rise is not None and after.error_rate is not None:
            usual = (before.error_rate or 0.0) if measured else 0.0
            if after.error_rate - usual > limits.error_rise:
                return (
                    f"{after.error_rate:.1%} of decisions fail or are not finite, {usual:.1%} before; "
                    f"the limit is {limits.error_rise * 100:g} points more."
                )
        for name, limit, old, new, unit in (
            ("p95 latency", limits.latency_rise, before.latency_p95, after.latency_p95, "ms"),
            ("energy per action", limits.energy_rise, before.energy, after.energy, "J"),
        ):
            if limit is not None and measured and old and new is not None and new > old * (1 + limit):
                return (
                    f"{name} rose from {old:.3g} to {new:.3g} {unit} on the same devices "
                    f"(+{new / old - 1:.0%}); the limit is +{limit:.0%}."
                )
    if (
        limits.success_loss is not None
        and min(before.episodes, after.episodes) >= LEAST_EPISODES
        and before.success is not None
        and after.success is not None
        and before.success - after.success > limits.success_loss
    ):
        return (
            f"task success fell from {before.success:.1%} to {after.success:.1%} on the same devices; "
            f"the limit is {limits.success_loss * 100:g} points less."
        )
    return ""


def needed(counts: Counts, limits: Limits) -> int:
    """How many of a phase's devices have to take it."""
    return ceil(round(limits.success * counts.total, 6))


def _not_enough(counts: Counts, limits: Limits) -> Decision:
    wanted = needed(counts, limits)
    if counts.good + counts.open < wanted:
        return Decision(
            Action.PAUSE,
            f"Only {counts.good + counts.open} of {_devices(counts.total)} can still take it; {wanted} have to.",
        )
    return Decision(
        Action.HOLD, f"{counts.good} of {_devices(counts.total)} took it; {wanted} have to.{_offline(counts)}"
    )


def _offline(counts: Counts) -> str:
    return f" {counts.offline} {'is' if counts.offline == 1 else 'are'} offline." if counts.offline else ""


def _comes(look: Look) -> bool:
    """Whether devices that told how the old variant did have not told enough of the new one, as far as is known."""
    return not look.measured or look.before.decisions >= LEAST_DECISIONS > look.after.decisions


def _devices(number: int) -> str:
    return f"{number} device{'' if number == 1 else 's'}"
