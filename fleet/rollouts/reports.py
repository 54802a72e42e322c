"""What devices say about their deployments and commands, onto rows. Never backwards, never another device's."""

from datetime import datetime

import msgspec

from agent.wire.messages import CommandReport, DeploymentReport
from agent.wire.states import DEPLOYMENT_BAD, DEPLOYMENT_ENDS, command_may_report, may_report
from agent.wire.states import Command as CommandState
from agent.wire.states import Deployment as State
from fleet.audit.models import Event
from fleet.audit.services import announce, record_many
from fleet.devices.models import Device
from fleet.rollouts import services
from fleet.rollouts.models import Command, Deployment, Transition
from fleet.rollouts.transitions import announce_moves
from fleet.rows import write

_FIELDS = ["state", "boot_id", "seq", "step", "progress", "reason", "evidence", "changed_at", "finished_at"]


_ENDS_IN_WORDS = {State.ACTIVE: "is active", State.ROLLED_BACK: "was rolled back", State.REJECTED: "was refused"}


def deployments(known: list[tuple[Device, DeploymentReport, bool]], now: datetime) -> list[tuple[Device, str]]:
    """Apply reports in order. Returns those refused, with the reason."""
    rows = {
        row.pk: row
        for row in Deployment.objects.select_for_update(of=("self",))
        .filter(pk__in={report.deployment_id for _, report, _ in known})
        .select_related("device", "variant__version__model")
        .defer("variant__manifest", "device__hardware", "device__config", "device__runtime", "device__restraints")
    }
    refused: list[tuple[Device, str]] = []
    steps: list[Transition] = []
    ended: dict[str, Deployment] = {}
    changed: dict[str, Deployment] = {}
    for device, report, _ in sorted(known, key=lambda each: each[1].seq):
        row = rows.get(report.deployment_id)
        if row is None or row.device_id != device.pk:
            refused.append((device, f"deployment {report.deployment_id} is not one of this device"))
            continue
        step = _apply(row, report, now)
        if step is not None:
            changed[row.pk] = row
            if step.old != step.new:
                steps.append(step)
                if row.state in DEPLOYMENT_ENDS:
                    ended[row.pk] = row
    write(changed.values(), _FIELDS)
    Transition.objects.bulk_create(steps, batch_size=200)
    announce_moves(changed.values())
    _end(list(ended.values()))
    return refused


def _apply(row: Deployment, report: DeploymentReport, now: datetime) -> Transition | None:
    """Change the row; None when the report is old or may not be."""
    old, new = State(row.state), State(report.state)
    same_boot = report.boot_id == row.boot_id
    if same_boot and report.seq <= row.seq:
        return None
    if old != new and not may_report(old, new, new_boot=not same_boot):
        return None
    if old in DEPLOYMENT_ENDS:
        return None
    row.state, row.boot_id, row.seq = new, report.boot_id, report.seq
    row.step, row.progress, row.reason = report.step, report.progress, report.reason
    row.evidence = report.evidence or row.evidence
    row.changed_at = now
    row.finished_at = now if new in DEPLOYMENT_ENDS else None
    return Transition(deployment=row, at=now, old=old, new=new, reason=report.reason)


def _end(ended: list[Deployment]) -> None:
    """Say how it ended; where it ended badly, what the device still runs is desired again."""
    services.take_back(
        [row for row in ended if row.state in DEPLOYMENT_BAD and row.device.desired_deployment == row.pk]
    )
    record_many(
        Event(
            kind=f"deployment.{row.state}",
            level="bad" if row.state in DEPLOYMENT_BAD else "ok",
            text=f"{row.device.name}: {row.variant} {_ENDS_IN_WORDS.get(State(row.state), row.state)}",
            detail=row.reason,
            device_id=row.device_id,
            rollout_id=row.rollout_id,
        )
        for row in ended
    )


def commands(known: list[tuple[Device, CommandReport, bool]], now: datetime) -> list[tuple[Device, str]]:
    """Apply acknowledgements. Returns those refused, with the reason."""
    rows = {
        row.pk: row for row in Command.objects.select_for_update().filter(pk__in={report.id for _, report, _ in known})
    }
    refused: list[tuple[Device, str]] = []
    changed: dict[str, Command] = {}
    for device, report, _ in sorted(known, key=lambda each: each[1].seq):
        row = rows.get(report.id)
        if row is None or row.device_id != device.pk:
            refused.append((device, f"command {report.id} is not one of this device"))
        elif command_may_report(CommandState(row.state), CommandState(report.state)):
            row.state, row.progress, row.reason = report.state, report.progress, report.reason
            row.result = msgspec.to_builtins(report.result) or row.result
            row.changed_at = now
            changed[row.pk] = row
    write(changed.values(), ("state", "progress", "reason", "result", "changed_at"))
    announce(*{f"device:{row.device_id}" for row in changed.values()})
    return refused
