"""Start, steer and end rollouts; send commands. Each call is one transaction, whatever the number of devices."""

from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from agent.wire import topics
from agent.wire.messages import CommandOrder
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
from fleet.audit.services import announce, record
from fleet.catalog.models import Variant
from fleet.devices.models import Device
from fleet.errors import Refused
from fleet.gateway import outbox
from fleet.rollouts import policy
from fleet.rollouts.models import RETRYABLE, Command, Deployment, Rollout
from fleet.rollouts.preview import preview, too_small
from fleet.rollouts.transitions import move
from fleet.trust import services as trust

DEADLINE_SECONDS = 7 * 24 * 3600
COMMANDS = ("benchmark", "ping")

#: As people are told, where that is not the state's own name.
_STATE_WORDS = {RolloutState.ABORTED: "canceled"}


@transaction.atomic
def start(
    release,
    by,
    group=None,
    devices: Iterable[Device] | None = None,
    deadline_seconds=DEADLINE_SECONDS,
    back: bool = False,
):
    """Begin a rollout to a group, or to the devices named. Raises Refused when there is nothing to do.

    back: a person orders devices that run a newer version to go back; that order is signed. Else it is refused.
    """
    if (group is None) == (devices is None):
        raise Refused("Name a group or devices, not both.")
    if not 60 <= deadline_seconds <= 365 * 24 * 3600:
        raise Refused("The deadline is between one minute and one year.")
    if group is not None:
        chosen, target = group.devices.all(), group.name
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
    if said := policy.refusal([(row.verdict, row.reason) for row in looked.rows], *subjects):
        raise Refused(said)
    if looked.back and not back:
        raise Refused(
            f"Version {release.version.number} is older than what {looked.back} of the devices run (up to version "
            f"{looked.over}). Confirm that they go back."
        )
    now = timezone.now()
    rollout = Rollout.objects.create(
        release=release,
        group=group,
        target=target,
        state=RolloutState.RUNNING,
        created_by=by,
        started_at=now,
        deadline_seconds=deadline_seconds,
        back=back,
    )
    if looked.back:
        variants = {row.variant.pk: row.variant for row in looked.rows if row.verdict == "update"}
        trust.order_back(variants.values(), looked.over, now + timedelta(seconds=deadline_seconds), by)
    _supersede([row.device.pk for row in looked.rows if row.verdict == "update"], rollout)
    Deployment.objects.bulk_create(
        [
            Deployment(
                rollout=rollout,
                device=row.device,
                variant=row.variant,
                previous_manifest=row.device.active_manifest,
                state=State.QUEUED if row.verdict == "update" else State.SKIPPED,
                reason="" if row.verdict == "update" else row.reason,
                deadline=now + timedelta(seconds=deadline_seconds),
                finished_at=None if row.verdict == "update" else now,
            )
            for row in looked.rows
        ],
        batch_size=200,
    )
    counts = looked.counts
    record(
        "rollout.started",
        f"{rollout}: {release} to {target}",
        detail=f"{counts['update']} to update, {counts['already']} already there, "
        f"{counts['blocked'] + counts['no_variant']} left out",
        actor=by,
        rollout=rollout,
        version=release.version,
    )
    notify(rollout)
    return rollout


def notify(rollout: Rollout) -> int:
    """Write the desired state of every queued deployment whose device is free. Returns how many were told.

    What has no room any more by the time its turn comes is left out.
    """
    busy = Deployment.objects.filter(state__in=sorted(DEPLOYMENT_IN_FLIGHT)).values("device_id")
    ready = _with_room(
        rollout.deployments.filter(state=State.QUEUED).exclude(device_id__in=busy).select_related("device", "variant")
    )
    if not ready:
        return 0
    move(ready, State.NOTIFIED)
    for deployment in ready:
        deployment.device.desired_manifest = deployment.variant.manifest_digest
        deployment.device.desired_deployment = deployment.pk
        deployment.previous_manifest = deployment.device.active_manifest
    Device.objects.bulk_update(
        [deployment.device for deployment in ready], ["desired_manifest", "desired_deployment"], batch_size=200
    )
    Deployment.objects.bulk_update(ready, ["previous_manifest"], batch_size=200)
    _cast_manifests({deployment.variant_id for deployment in ready})
    outbox.write_desired(deployment.device_id for deployment in ready)
    return len(ready)


def _with_room(waiting: Iterable[Deployment]) -> list[Deployment]:
    """Those whose variant still fits; the others are skipped with the reason."""
    ready, reasons = [], {}
    for deployment in waiting:
        if reason := too_small(deployment.device, deployment.variant):
            reasons[deployment] = reason
        else:
            ready.append(deployment)
    skipped = move(reasons, State.SKIPPED, "it does not fit any more")
    for deployment in skipped:
        deployment.reason = reasons[deployment]
    Deployment.objects.bulk_update(skipped, ["reason"], batch_size=200)
    return ready


def _cast_manifests(variant_ids: set[int]) -> None:
    from fleet.catalog.services import manifest_bytes

    variants = list(Variant.objects.filter(pk__in=variant_ids).select_related("version"))
    trust.vouch(variants)
    outbox.put(
        outbox.message(topics.manifest(variant.manifest_digest), manifest_bytes(variant), retain=True)
        for variant in variants
    )


def _supersede(device_ids: list[str], rollout: Rollout) -> None:
    """A newer rollout takes over where the device can still turn; elsewhere the new deployment queues behind."""
    turning = Deployment.objects.filter(device_id__in=device_ids, state__in=sorted(DEPLOYMENT_STOPPABLE))
    move(list(turning.exclude(rollout=rollout)), State.SUPERSEDED, f"{rollout} took over")


@transaction.atomic
def pause(rollout: Rollout, by) -> None:
    """Tell no further device. Those that were told go on."""
    _turn(rollout, RolloutState.PAUSED, by, f"paused by {by.username}")


@transaction.atomic
def resume(rollout: Rollout, by) -> None:
    _turn(rollout, RolloutState.RUNNING, by, "")
    notify(rollout)


def _turn(rollout: Rollout, new: RolloutState, by, reason: str) -> None:
    sources = sorted(old for old, ahead in ROLLOUT_NEXT.items() if new in ahead)
    ended = {"finished_at": timezone.now()} if new in (RolloutState.ABORTED, RolloutState.FINISHED) else {}
    if not Rollout.objects.filter(pk=rollout.pk, state__in=sources).update(state=new, reason=reason[:1000], **ended):
        rollout.refresh_from_db()
        raise Refused(f"{rollout} is {_said(rollout.state)}; it cannot become {_said(new)}.")
    rollout.refresh_from_db()
    if ended:
        _end_order_back(rollout)
    level = {RolloutState.ABORTED: "warn", RolloutState.FINISHED: "ok"}.get(new, "info")
    record(f"rollout.{new}", f"{rollout} is {_said(new)}", level=level, detail=reason, actor=by, rollout=rollout)


def _end_order_back(rollout: Rollout) -> None:
    """Its devices have gone back or never will; the order must not serve anybody later."""
    open_states = [RolloutState.RUNNING, RolloutState.PAUSED]
    if not rollout.release.rollouts.filter(state__in=open_states).exists():
        trust.end_order_back(rollout.release.variants.all())


def _said(state: str) -> str:
    return _STATE_WORDS.get(RolloutState(state), state)


@transaction.atomic
def cancel(rollout: Rollout, by, reason: str = "") -> int:
    """End it. Devices that have not installed yet keep what they run; those that are installing finish by themselves.

    Returns how many deployments were canceled.
    """
    reason = reason or f"canceled by {by.username}"
    _turn(rollout, RolloutState.ABORTED, by, reason)
    return _cancel(rollout.deployments.all(), reason)


def finish(rollout: Rollout, summary: str) -> None:
    """Every deployment has ended. Harmless when another tick was first."""
    if Rollout.objects.filter(pk=rollout.pk, state=RolloutState.RUNNING).exists():
        _turn(rollout, RolloutState.FINISHED, None, summary)


def _cancel(deployments: QuerySet[Deployment], reason: str) -> int:
    stopping = list(deployments.filter(state__in=sorted(DEPLOYMENT_STOPPABLE)).select_related("device"))
    told = [d for d in stopping if d.state != State.QUEUED and d.device.desired_deployment == d.pk]
    move(stopping, State.CANCELED, reason)
    take_back(told)
    return len(stopping)


def take_back(deployments: list[Deployment]) -> None:
    """Make what these devices run now their desired state again."""
    if not deployments:
        return
    for deployment in deployments:
        deployment.device.desired_manifest = deployment.device.active_manifest
        deployment.device.desired_deployment = ""
    Device.objects.bulk_update(
        [deployment.device for deployment in deployments], ["desired_manifest", "desired_deployment"], batch_size=200
    )
    outbox.write_desired(deployment.device_id for deployment in deployments if deployment.device.retired_at is None)


def cancel_for_device(device: Device, reason: str) -> None:
    """The device leaves: nothing waits for it any more."""
    move(list(device.deployments.filter(state__in=sorted(DEPLOYMENT_OPEN))), State.CANCELED, reason)
    open_states = [CommandState.QUEUED, CommandState.SENT, CommandState.ACCEPTED, CommandState.RUNNING]
    device.commands.filter(state__in=open_states).update(
        state=CommandState.CANCELED, reason=reason, changed_at=timezone.now()
    )


@transaction.atomic
def retry_failed(rollout: Rollout, by):
    """A new rollout of the same release to the devices in service on which this one ended badly; returns it."""
    devices = list(Device.objects.filter(deployments__in=rollout.deployments.filter(RETRYABLE)))
    if not devices:
        if rollout.deployments.filter(state__in=sorted(DEPLOYMENT_BAD)).exists():
            raise Refused("No device that failed in this rollout is still in service.")
        raise Refused("No device failed in this rollout.")
    return start(rollout.release, by, devices=devices, deadline_seconds=rollout.deadline_seconds, back=rollout.back)


# --- Commands -------------------------------------------------------------------------------------------------------


@transaction.atomic
def send_command(device: Device, kind: str, args: dict, by, deadline_seconds=120, job=None) -> Command:
    """Order one device. It is sent at once, and waits for an offline device until the deadline."""
    if kind not in COMMANDS:
        raise Refused(f"There is no command {kind}; there are {', '.join(COMMANDS)}.")
    if device.retired_at or device.admission != Admission.ACCEPTED:
        raise Refused(f"{device.name} is not in service.")
    deadline = timezone.now() + timedelta(seconds=deadline_seconds)
    command = Command.objects.create(
        device=device, kind=kind, args=args, created_by=by, deadline=deadline, job=job, state=CommandState.SENT
    )
    order = CommandOrder(id=command.pk, kind=kind, deadline=deadline.timestamp(), args=args)
    outbox.put([outbox.message(topics.down(device.pk, "command", command.pk), order)])
    record("command.sent", f"{kind} was ordered from {device.name}", actor=by, device=device)
    return command


@transaction.atomic
def cancel_command(command: Command, by) -> None:
    """Stop waiting for it. The device may still do it when the order has reached it."""
    open_states = [CommandState.QUEUED, CommandState.SENT, CommandState.ACCEPTED, CommandState.RUNNING]
    if not Command.objects.filter(pk=command.pk, state__in=open_states).update(
        state=CommandState.CANCELED, reason=f"canceled by {by.username}", changed_at=timezone.now()
    ):
        raise Refused("This command has already ended.")
    record("command.canceled", f"{command.kind} on {command.device.name} was canceled", actor=by, device=command.device)
    announce(f"device:{command.device_id}")
