"""Start, steer and end rollouts. Each call is one transaction, whatever the number of devices."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from django.db import transaction
from django.db.models import Count, F, Q, QuerySet
from django.utils import timezone

from agent.wire.states import (
    DEPLOYMENT_BAD,
    DEPLOYMENT_IN_FLIGHT,
    DEPLOYMENT_OPEN,
    DEPLOYMENT_STOPPABLE,
    ROLLOUT_NEXT,
    Admission,
)
from agent.wire.states import Command as CommandState
from agent.wire.states import Deployment as State
from agent.wire.states import Rollout as RolloutState
from fleet.audit.services import record
from fleet.catalog.models import Variant
from fleet.devices.models import Device
from fleet.errors import Refused
from fleet.rollouts import judging, plan, starting, steering, telling
from fleet.rollouts.commands import OPEN_COMMANDS
from fleet.rollouts.commands import cancel_command as cancel_command
from fleet.rollouts.commands import send_command as send_command
from fleet.rollouts.models import RETRYABLE, Deployment, Phase, Rollout
from fleet.rollouts.plan import PhasePlan, Terms
from fleet.rollouts.preview import Preview, PreviewRow, preview
from fleet.rollouts.transitions import move
from fleet.trust import services as trust

DEADLINE_SECONDS = 7 * 24 * 3600

#: As people are told, where that is not the state's own name.
_STATE_WORDS = {RolloutState.ABORTED: "canceled", RolloutState.DRAFT: "waiting for approval"}
_OPEN = [RolloutState.RUNNING, RolloutState.PAUSED]


@transaction.atomic
def start(
    release,
    by,
    group=None,
    devices: Iterable[Device] | None = None,
    deadline_seconds=DEADLINE_SECONDS,
    back: bool = False,
    phases: Sequence[PhasePlan] = (),
    terms: Terms | None = None,
) -> Rollout:
    """Make a rollout to a group, or to the devices named, and begin it unless it waits for its time or an approval.

    Raises Refused when there is nothing to do, or the plan makes no sense. Without phases everything goes at once.
    back: a person orders devices that run a newer version to go back; that order is signed. Else it is refused.
    """
    now, terms = timezone.now(), terms or Terms()
    if (group is None) == (devices is None):
        raise Refused("Name a group or devices, not both.")
    if terms.continuous and group is None:
        raise Refused("Only a rollout to a group can take in devices that join later.")
    checked = plan.checked(phases, terms, deadline_seconds, now)
    if group is not None:
        chosen, target = group.members(), group.name
        subjects = f"Every device in {target}", f"No device in {target} can"
    else:
        named = list(devices or [])
        chosen = Device.objects.filter(pk__in=[device.pk for device in named])
        if len(named) == 1:
            target = named[0].name
            subjects = target, f"{target} cannot"
        else:
            target = f"{len(named)} devices"
            subjects = f"Every one of the {target}", f"None of the {target} can"
    looked = preview(release, chosen)
    if not looked.rows:
        raise Refused(f"There is no accepted device in {target}.")
    said = judging.refusal([(row.verdict, row.reason) for row in looked.rows], *subjects)
    if said and not terms.continuous:
        raise Refused(said)
    if looked.back and not back:
        raise Refused(
            f"Version {release.version.number} is older than what {looked.back} of the devices run (up to version "
            f"{looked.over}). Confirm that they go back."
        )
    rollout = Rollout(
        release=release,
        group=group,
        target=target,
        created_by=by,
        deadline_seconds=deadline_seconds,
        back=back,
        **Rollout.columns(terms),
    )
    _launch(rollout, checked, looked, by, now)
    return rollout


def _launch(rollout: Rollout, phases: Sequence[PhasePlan], looked: Preview, by, now) -> None:
    """Store it, say so, and begin unless it has to wait."""
    rollout.state = (
        RolloutState.DRAFT
        if rollout.needs_approval
        else RolloutState.SCHEDULED
        if rollout.starts_at
        else RolloutState.RUNNING
    )
    rollout.started_at = now if rollout.state == RolloutState.RUNNING else None
    starting.make(rollout, phases, looked.rows, now)
    counts = looked.counts
    left_out = counts["blocked"] + counts["no_variant"] + counts["pinned"]
    words = {RolloutState.DRAFT: "drafted", RolloutState.SCHEDULED: "scheduled"}.get(rollout.state, "started")
    record(
        f"rollout.{words}",
        f"{rollout}: {rollout.release} to {rollout.target}",
        detail=f"{counts['update']} to update, {counts['already']} already there, {left_out} left out",
        actor=by,
        rollout=rollout,
        version=rollout.release.version,
    )
    if rollout.state == RolloutState.RUNNING:
        starting.begin(rollout, by, now)


@transaction.atomic
def approve(rollout: Rollout, by) -> None:
    """The second person says yes: it begins, or waits for its time."""
    if by == rollout.created_by:
        raise Refused(f"{rollout} was made by you; somebody else has to approve it.")
    now = timezone.now()
    later = rollout.starts_at and rollout.starts_at > now
    Rollout.objects.filter(pk=rollout.pk, state=RolloutState.DRAFT).update(approved_by=by, approved_at=now)
    if later:
        turn(rollout, RolloutState.SCHEDULED, by, f"approved by {by.username}")
    else:
        begin(rollout, by, RolloutState.DRAFT)


@transaction.atomic
def begin(rollout: Rollout, by=None, waited: RolloutState = RolloutState.SCHEDULED) -> None:
    """Its time has come, or a person does not want to wait for it. waited is the state that it leaves."""
    now = timezone.now()
    if rollout.state != waited:
        raise Refused(f"{rollout} is {_said(rollout.state)}; it does not wait for its time.")
    turn(rollout, RolloutState.RUNNING, by, "", started_at=now)
    starting.begin(rollout, by or rollout.created_by, now)


@transaction.atomic
def pause(rollout: Rollout, by) -> None:
    """Tell no further device. Those that were told go on."""
    turn(rollout, RolloutState.PAUSED, by, f"paused by {by.username}")


@transaction.atomic
def resume(rollout: Rollout, by) -> None:
    """Go on. What failed so far, and the figures as they are, have been seen and count no more."""
    if rollout.state != RolloutState.PAUSED:
        raise Refused(f"{rollout} is {_said(rollout.state)}; it cannot be resumed.")
    turn(rollout, RolloutState.RUNNING, by, "")
    now = timezone.now()
    bad = rollout.deployments.filter(state__in=sorted(DEPLOYMENT_BAD)).order_by()
    failed = dict(bad.values_list("phase").annotate(Count("pk")))
    phases = list(rollout.phases.filter(number__lte=rollout.phase))
    for phase in phases:
        phase.forgiven, phase.figures_accepted = failed.get(phase.number, 0), True
    Phase.objects.bulk_update(phases, ["forgiven", "figures_accepted"])
    telling.open_deadlines(rollout, now, Q(deadline__isnull=False))
    steering.step(rollout.pk, now)


@transaction.atomic
def open_next(rollout: Rollout, by) -> None:
    """A person opens the next phase without waiting for this one."""
    current = rollout.phases.filter(number=rollout.phase, passed_at=None)
    if rollout.state != RolloutState.RUNNING or not rollout.phases.filter(number=rollout.phase + 1).exists():
        raise Refused(f"{rollout} has no further phase to open now.")
    now = timezone.now()
    if current.update(passed_at=now):
        record("rollout.phase", f"{rollout}: phase {rollout.phase + 2} was opened early", actor=by, rollout=rollout)
    steering.step(rollout.pk, now)


def turn(rollout: Rollout, new: RolloutState, by, reason: str, level: str = "", **columns: object) -> None:
    """A rollout changes its state, and says so. Raises Refused when it cannot."""
    sources = sorted(old for old, ahead in ROLLOUT_NEXT.items() if new in ahead)
    if new in (RolloutState.ABORTED, RolloutState.FINISHED):
        columns["finished_at"] = timezone.now()
    if not Rollout.objects.filter(pk=rollout.pk, state__in=sources).update(state=new, reason=reason[:1000], **columns):
        rollout.refresh_from_db()
        raise Refused(f"{rollout} is {_said(rollout.state)}; it cannot become {_said(new)}.")
    rollout.refresh_from_db()
    if rollout.finished_at:
        _end_order_back(rollout)
    level = level or {RolloutState.ABORTED: "warn", RolloutState.FINISHED: "ok"}.get(new, "info")
    record(f"rollout.{new}", f"{rollout} is {_said(new)}", level=level, detail=reason, actor=by, rollout=rollout)


def _end_order_back(rollout: Rollout) -> None:
    """Its devices have gone back or never will; the order must not serve anybody later."""
    if not rollout.back:
        return
    others = Deployment.objects.filter(rollout__state__in=_OPEN, rollout__back=True).exclude(rollout=rollout)
    variants = Variant.objects.filter(deployments__rollout=rollout).distinct()
    trust.end_order_back(variants.exclude(pk__in=others.values("variant")))


def _said(state: str) -> str:
    return _STATE_WORDS.get(RolloutState(state), state)


@transaction.atomic
def cancel(rollout: Rollout, by, reason: str = "") -> int:
    """End it. Devices that have not installed yet keep what they run; those that are installing finish by themselves.

    Returns how many deployments were canceled.
    """
    reason = reason or f"canceled by {by.username}"
    turn(rollout, RolloutState.ABORTED, by, reason)
    return _cancel(rollout.deployments.all(), reason)


def _cancel(deployments: QuerySet[Deployment], reason: str) -> int:
    stopping = list(
        deployments.filter(state__in=sorted(DEPLOYMENT_STOPPABLE)).order_by().only("state", "rollout", "device")
    )
    told = [deployment for deployment in stopping if deployment.state in DEPLOYMENT_IN_FLIGHT]
    canceled = move(stopping, State.CANCELED, reason)
    telling.take_back_told(told)
    return len(canceled)


@transaction.atomic
def roll_back(rollout: Rollout, by, reason: str = "") -> Rollout:
    """Bring the devices of a rollout back to what each ran before, by a new one, which is returned.

    What is still open is canceled first.
    """
    now = timezone.now()
    if rollout.state in (RolloutState.DRAFT, RolloutState.SCHEDULED) or rollout.undoes_id:
        raise Refused(f"There is nothing to take back from {rollout}.")
    if rollout.state in _OPEN:
        cancel(rollout, by, reason or f"rolled back by {by.username}")
    looked = _before(rollout)
    if not looked.counts["update"]:
        raise Refused(f"No device runs anything from {rollout} that it could go back from.")
    undoing = Rollout(
        release=rollout.release,
        group=rollout.group,
        target=rollout.target,
        created_by=by,
        deadline_seconds=rollout.deadline_seconds,
        back=True,
        undoes=rollout,
        reason=reason[:1000],
    )
    _launch(undoing, plan.AT_ONCE, looked, by, now)
    return undoing


def _before(rollout: Rollout) -> Preview:
    """What each device that took the rollout's variant, or is about to, ran before."""
    changed = rollout.deployments.filter(
        Q(state=State.ACTIVE, device__active_manifest=F("variant__manifest_digest"))
        | Q(state__in=sorted(DEPLOYMENT_IN_FLIGHT)),
        device__admission=Admission.ACCEPTED,
        device__retired_at=None,
    ).select_related("device")
    rows = list(changed)
    digests = {row.previous_manifest for row in rows}
    known = {each.manifest_digest: each for each in Variant.objects.filter(manifest_digest__in=digests)}
    found = [_row_before(row, known.get(row.previous_manifest)) for row in rows]
    looked = Preview(found)
    looked.counts.update(row.verdict for row in found)
    return looked


def _row_before(row: Deployment, variant: Variant | None) -> PreviewRow:
    if variant is not None:
        return PreviewRow(row.device, variant, "update", "It goes back to what it ran before.")
    reason = "What it ran before is not known any more." if row.previous_manifest else "It ran nothing before."
    return PreviewRow(row.device, None, "no_variant", reason)


def take_back(deployments: list[Deployment]) -> None:
    """Make what the devices of these deployments run now their desired state again."""
    if deployments:
        telling.take_back([deployment.device_id for deployment in deployments])


def cancel_for_device(device: Device, reason: str) -> None:
    """The device leaves: nothing waits for it any more."""
    move(list(device.deployments.filter(state__in=sorted(DEPLOYMENT_OPEN))), State.CANCELED, reason)
    device.commands.filter(state__in=OPEN_COMMANDS).update(
        state=CommandState.CANCELED, reason=reason, changed_at=timezone.now()
    )


def keep_for_device(device: Device, reason: str) -> int:
    """The device stays at what it runs: what can still turn is canceled there. Returns how many."""
    return _cancel(device.deployments.all(), reason)


@transaction.atomic
def retry_failed(rollout: Rollout, by) -> Rollout:
    """A new rollout to the devices in service on which this one ended badly; returns it.

    It is held to the same plan: pace, window, approval and thresholds, in those of the phases that so few devices fill.
    """
    again = list(rollout.deployments.filter(RETRYABLE).select_related("device", "variant"))
    if not again:
        if rollout.deployments.filter(state__in=sorted(DEPLOYMENT_BAD)).exists():
            raise Refused("No device that failed in this rollout is still in service.")
        raise Refused("No device failed in this rollout.")
    if rollout.undoes_id:
        return _back_again(rollout, again, by)
    phases = [phase.plan for phase in rollout.phases.all()]
    return start(
        rollout.release,
        by,
        devices=[row.device for row in again],
        deadline_seconds=rollout.deadline_seconds,
        back=rollout.back,
        phases=plan.for_fewer(phases, len(again)),
        terms=replace(rollout.terms, starts_at=None, continuous=False),
    )


def _back_again(rollout: Rollout, again: list[Deployment], by) -> Rollout:
    """Where what failed was going back, each device is to go back to what it should have gone back to."""
    looked = Preview([PreviewRow(row.device, row.variant, "update", "It goes back, once more.") for row in again])
    looked.counts["update"] = len(again)
    undoing = Rollout(
        release=rollout.release,
        target=again[0].device.name if len(again) == 1 else f"{len(again)} devices",
        created_by=by,
        deadline_seconds=rollout.deadline_seconds,
        back=True,
        undoes=rollout.undoes,
    )
    _launch(undoing, plan.AT_ONCE, looked, by, timezone.now())
    return undoing
