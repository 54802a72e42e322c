"""Which devices go in which phase, and what a rollout is asked to hold to: plain data, and pure functions of it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain, pairwise, zip_longest
from math import ceil

from fleet.errors import Refused
from fleet.rollouts.pace import Window, zone
from fleet.rollouts.policy import ON_ERROR, Limits

MOST_PHASES = 10


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """How far a phase goes: up to so many devices of the rollout in all (`count`), or up to that percent of them."""

    percent: float | None = None
    count: int | None = None
    limits: Limits = field(default_factory=Limits)

    def reach(self, total: int) -> int:
        """How many of `total` devices this phase and those before it have. The least of a percent is one device."""
        if self.count is not None:
            return min(self.count, total)
        return min(total, ceil(round(total * (self.percent or 0.0) / 100, 6)))

    def __str__(self) -> str:
        if self.count is not None:
            return f"up to {self.count} device{'' if self.count == 1 else 's'}"
        return "all devices" if self.percent == 100 else f"up to {self.percent:g} %"


#: What most rollouts are: everything at once, with nothing that could stop it but a person.
AT_ONCE = (PhasePlan(percent=100, limits=Limits(success=0.0, failures=None)),)


@dataclass(frozen=True, slots=True)
class Terms:
    """When devices may be told, and by whose leave. 0 of most_in_flight or per_minute is no limit.

    zone_name is for devices without a time zone of their own.
    """

    most_in_flight: int = 0
    per_minute: float = 0.0
    window: Window | None = None
    zone_name: str = "UTC"
    only_idle: bool = False
    starts_at: datetime | None = None
    continuous: bool = False
    needs_approval: bool = False

    @property
    def gated(self) -> bool:
        """A device is told only while it is there: what it is told while it is away, it would do at any moment."""
        return bool(self.most_in_flight or self.per_minute or self.window or self.only_idle)


def checked(phases: Sequence[PhasePlan], terms: Terms, deadline_seconds: int, now: datetime) -> tuple[PhasePlan, ...]:
    """The phases as they will be. Raises Refused with what to change."""
    made = tuple(phases) or AT_ONCE
    if len(made) > MOST_PHASES:
        raise Refused(f"A rollout has at most {MOST_PHASES} phases, not {len(made)}.")
    for number, phase in enumerate(made, 1):
        _check_phase(number, phase)
    for number, (first, second) in enumerate(pairwise(made), 2):
        sizes = [(one.count, one.percent) for one in (first, second)]
        for before, after in zip(*sizes, strict=True):
            if before is not None and after is not None and after <= before:
                raise Refused(f"Phase {number} reaches no further than the one before it.")
    if made[-1].percent != 100:
        raise Refused("The last phase goes to all devices: 100 percent.")
    _check_terms(terms, deadline_seconds, now)
    return made


def _check_phase(number: int, phase: PhasePlan) -> None:
    limits = phase.limits
    if (phase.count is None) == (phase.percent is None):
        raise Refused(f"Phase {number} has a percent or a number of devices, one of them.")
    if phase.count is not None and phase.count < 1:
        raise Refused(f"Phase {number} has at least one device.")
    if phase.percent is not None and not 0 < phase.percent <= 100:
        raise Refused(f"Phase {number} has a percent above 0 and up to 100, not {phase.percent:g}.")
    if not 0 <= limits.success <= 1:
        raise Refused(f"Phase {number}: the share that has to take it is 0 to 100 percent.")
    if limits.failures is not None and not limits.failures > 0:
        raise Refused(f"Phase {number}: the share of failures that acts is more than 0 percent.")
    if limits.on_error not in ON_ERROR:
        raise Refused(f"Phase {number}: on too many failures it can {', '.join(ON_ERROR)}.")
    if not timedelta(0) <= limits.soak <= timedelta(days=30):
        raise Refused(f"Phase {number}: the soak time is between nothing and 30 days.")
    compared = (limits.latency_rise, limits.error_rise, limits.success_loss, limits.energy_rise)
    if any(limit is not None and not 0 <= limit <= 100 for limit in compared):
        raise Refused(f"Phase {number}: a limit against the variant before is not below 0.")


def _check_terms(terms: Terms, deadline_seconds: int, now: datetime) -> None:
    if not 60 <= deadline_seconds <= 365 * 24 * 3600:
        raise Refused("The deadline is between one minute and one year.")
    if terms.most_in_flight < 0 or terms.per_minute < 0 or terms.per_minute > 100_000:
        raise Refused("Devices in flight and devices a minute are 0 (no limit) or more, up to 100,000 a minute.")
    zone(terms.zone_name)
    if terms.window:
        terms.window.check()
        if deadline_seconds < 24 * 3600:
            raise Refused("With a maintenance window a device needs a day or more, or its window may never come.")
    if terms.starts_at and terms.starts_at <= now:
        raise Refused("The start lies in the past.")


def for_fewer(phases: Sequence[PhasePlan], total: int) -> tuple[PhasePlan, ...]:
    """Those of the phases that have a device of their own when there are only `total`; the last one always."""
    kept: list[PhasePlan] = []
    reached = 0
    for phase in phases[:-1]:
        if reached < phase.reach(total) < total:
            kept.append(phase)
            reached = phase.reach(total)
    return (*kept, phases[-1])


def assign(phases: Sequence[PhasePlan], devices: Iterable[tuple[str, str, bool]]) -> dict[str, int]:
    """The phase's number (from 0) of each device, given as (id, class, whether it is there now).

    Those that are there come before those that are not, and classes take turns: a canary that has room for one of each
    variant tries each variant, and is not held up by a device that is switched off. Else the order is the given one.
    """
    by_class: dict[bool, dict[str, list[str]]] = {True: defaultdict(list), False: defaultdict(list)}
    for device_id, device_class, there in devices:
        by_class[there][device_class].append(device_id)
    order = [
        device_id
        for there in (True, False)
        for device_id in chain.from_iterable(zip_longest(*by_class[there].values()))
        if device_id is not None
    ]
    found: dict[str, int] = {}
    start = 0
    for number, phase in enumerate(phases):
        end = len(order) if number == len(phases) - 1 else max(start, phase.reach(len(order)))
        found.update(dict.fromkeys(order[start:end], number))
        start = end
    return found


# --- Presets --------------------------------------------------------------------------------------------------------


def _limits(success: float, failures: float, minutes: int) -> Limits:
    return Limits(success, failures, soak=timedelta(minutes=minutes), latency_rise=0.5, error_rise=0.01)


#: By name: (label, phases).
PRESETS: dict[str, tuple[str, tuple[PhasePlan, ...]]] = {
    "once": ("All at once", AT_ONCE),
    "canary": (
        "Canary, then a tenth, then all",
        (
            PhasePlan(count=1, limits=_limits(1.0, 0.01, 10)),
            PhasePlan(percent=10, limits=_limits(0.95, 0.1, 30)),
            PhasePlan(percent=100, limits=_limits(0.95, 0.1, 0)),
        ),
    ),
    "careful": (
        "Five devices, then 5, 25, 50 percent, then all",
        (
            PhasePlan(count=5, limits=_limits(1.0, 0.01, 60)),
            PhasePlan(percent=5, limits=_limits(0.95, 0.05, 60)),
            PhasePlan(percent=25, limits=_limits(0.95, 0.05, 120)),
            PhasePlan(percent=50, limits=_limits(0.95, 0.05, 120)),
            PhasePlan(percent=100, limits=_limits(0.95, 0.05, 0)),
        ),
    ),
    "half": (
        "Half, then the other half",
        (
            PhasePlan(percent=50, limits=_limits(0.9, 0.1, 30)),
            PhasePlan(percent=100, limits=_limits(0.9, 0.1, 0)),
        ),
    ),
}


def with_action(phases: Iterable[PhasePlan], **changes: object) -> tuple[PhasePlan, ...]:
    """The phases with other limits, the same for each."""
    return tuple(replace(phase, limits=replace(phase.limits, **changes)) for phase in phases)  # type: ignore[arg-type]
