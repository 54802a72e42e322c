"""One look at one running rollout: decide by policy, act, tell the next devices. Idempotent; two at once do no harm."""

from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction
from django.db.models import Count

from agent.wire.states import DEPLOYMENT_BAD, DEPLOYMENT_IN_FLIGHT, DEPLOYMENT_OPEN
from agent.wire.states import Deployment as State
from agent.wire.states import Rollout as RolloutState
from fleet.audit.services import record
from fleet.devices.liveness import link_up
from fleet.rollouts import judging, measured, policy, starting, telling
from fleet.rollouts.models import RAN_ALREADY, Phase, Rollout
from fleet.rollouts.policy import Action, Counts, Decision, Look


@dataclass(slots=True)
class PhaseCounts:
    """Deployments of one phase by state; offline are those of the open whose link is down, in_flight those of the
    told that are there."""

    states: dict[str, int] = field(default_factory=dict)
    offline: int = 0
    in_flight: int = 0

    def add(self, state: str, devices: int, there: int) -> None:
        self.states[state] = devices
        if state in DEPLOYMENT_OPEN:
            self.offline += devices - there
        if state in DEPLOYMENT_IN_FLIGHT:
            self.in_flight += there

    def of(self, states) -> int:
        return sum(self.states.get(state, 0) for state in states)

    def counts(self, forgiven: int = 0) -> Counts:
        return Counts(
            good=self.of([State.ACTIVE]),
            bad=self.of(DEPLOYMENT_BAD),
            open=self.of(DEPLOYMENT_OPEN),
            offline=self.offline,
            forgiven=forgiven,
        )


def counted(rollout: Rollout, now: datetime) -> dict[int, PhaseCounts]:
    """By the phase's number; one query."""
    rows = (
        rollout.deployments.order_by()
        .values_list("phase", "state")
        .annotate(Count("pk"), there=Count("pk", filter=link_up(now, "device__")))
    )
    found: dict[int, PhaseCounts] = {}
    for number, state, devices, there in rows:
        found.setdefault(number, PhaseCounts()).add(state, devices, there)
    return found


def locked(pk: int, state: RolloutState = RolloutState.RUNNING) -> Rollout | None:
    """The rollout, held by this transaction; None when it is in another state, or somebody else has it."""
    rows = Rollout.objects.select_for_update(skip_locked=True, of=("self",)).select_related("release__version", "group")
    return rows.filter(pk=pk, state=state).first()


@transaction.atomic
def step(pk: int, now: datetime) -> None:
    """Look at a running rollout and do what there is to do."""
    rollout = locked(pk)
    if rollout is None:
        return
    if rollout.continuous:
        starting.take_in(rollout, now)
    found = counted(rollout, now)
    phases = list(rollout.phases.all())
    if not _advance(rollout, phases, found, now):
        return
    telling.tell(rollout, now, sum(phase.in_flight for phase in found.values()))
    if not rollout.continuous and not any(phase.of(DEPLOYMENT_OPEN) for phase in found.values()):
        finish(rollout, found)


def _advance(rollout: Rollout, phases: list[Phase], found: dict[int, PhaseCounts], now: datetime) -> bool:
    """Open what may be opened. False when the rollout goes on no more."""
    for phase in phases[: rollout.phase]:
        if reason := policy.breach(Look(_counts(phase, found)), phase.limits):
            return _act(rollout, phase, Decision(Action(phase.on_error), reason))
    while rollout.phase < len(phases):
        phase = phases[rollout.phase]
        last = phase.number == len(phases) - 1
        if phase.passed_at and not last:  # opened by a person
            starting.open_phase(rollout, phase.number + 1, now)
            continue
        decision = judge(phase, found, now, last=last)
        if decision.action is Action.HOLD:
            return True
        if decision.action is not Action.ADVANCE:
            return _act(rollout, phase, decision)
        if phase.passed_at is None:
            phase.passed_at = now
            Phase.objects.filter(pk=phase.pk, passed_at=None).update(passed_at=now)
        if last:
            return True
        starting.open_phase(rollout, phase.number + 1, now)
        following = phases[rollout.phase]
        record(
            "rollout.phase",
            f"{rollout}: phase {rollout.phase + 1} of {len(phases)} is open, {following.plan}",
            detail=decision.reason,
            rollout=rollout,
        )
    return True


def judge(phase: Phase, found: dict[int, PhaseCounts], now: datetime, *, last: bool) -> Decision:
    """What policy says of the phase that was opened last, by its counts now and its figures as they were stored."""
    counts = _counts(phase, found)
    if phase.settled_at is None and counts.total:
        enough = not counts.open if last else counts.good >= policy.needed(counts, phase.limits)
        if enough:
            phase.settled_at = now
            Phase.objects.filter(pk=phase.pk, settled_at=None).update(settled_at=now)
    return _decision(phase, found, now, last=last)


def _decision(phase: Phase, found: dict[int, PhaseCounts], now: datetime, *, last: bool) -> Decision:
    before, after = measured.stored(phase)
    seen = phase.looked_at is not None
    look = Look(_counts(phase, found), before, after, phase.settled_at, phase.figures_accepted, seen)
    return policy.decide(look, phase.limits, now, last=last)


def said(rollout: Rollout, phases: list[Phase], found: dict[int, PhaseCounts], now: datetime) -> str:
    """What holds an open rollout now, in a sentence; empty for one that is not open."""
    if rollout.state == RolloutState.PAUSED:
        return rollout.reason
    if rollout.state != RolloutState.RUNNING or rollout.phase >= len(phases):
        return ""
    phase = phases[rollout.phase]
    return _decision(phase, found, now, last=phase.number == len(phases) - 1).reason


def _counts(phase: Phase, found: dict[int, PhaseCounts]) -> Counts:
    return found.get(phase.number, PhaseCounts()).counts(phase.forgiven)


def _act(rollout: Rollout, phase: Phase, decision: Decision) -> bool:
    """The error threshold of a phase does what it was told to."""
    from fleet.rollouts import services  # what people order, this orders too

    reason = f"Phase {phase.number + 1}: {decision.reason}"
    if decision.action is Action.PAUSE:
        services.turn(rollout, RolloutState.PAUSED, None, reason, level="bad")
    elif decision.action is Action.ABORT:
        services.cancel(rollout, None, reason)
    else:
        services.roll_back(rollout, None, reason)
    return False


def finish(rollout: Rollout, found: dict[int, PhaseCounts]) -> None:
    """Every deployment has ended."""
    from fleet.rollouts import services

    states: dict[str, int] = {}
    for phase in found.values():
        for state, number in phase.states.items():
            states[state] = states.get(state, 0) + number
    already = rollout.deployments.filter(RAN_ALREADY).count()
    services.turn(rollout, RolloutState.FINISHED, None, judging.summary(states, already))
