"""Orders to single devices. Each call is one transaction."""

from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from agent.wire import topics
from agent.wire.messages import CommandOrder
from agent.wire.states import COMMAND_NEXT, Admission
from agent.wire.states import Command as CommandState
from fleet.audit.services import announce, record
from fleet.devices.models import Device
from fleet.errors import Refused
from fleet.gateway import outbox
from fleet.rollouts.models import Command

COMMANDS = ("benchmark", "ping")
OPEN_COMMANDS = sorted(COMMAND_NEXT)


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
    if not Command.objects.filter(pk=command.pk, state__in=OPEN_COMMANDS).update(
        state=CommandState.CANCELED, reason=f"canceled by {by.username}", changed_at=timezone.now()
    ):
        raise Refused("This command has already ended.")
    record("command.canceled", f"{command.kind} on {command.device.name} was canceled", actor=by, device=command.device)
    announce(f"device:{command.device_id}")
