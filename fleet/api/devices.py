"""Devices, groups, enrollment tokens, and what happened."""

from datetime import datetime

from django.db.models import Count
from django.shortcuts import get_object_or_404
from django.utils import timezone
from ninja import Router, Status
from ninja.pagination import paginate

from agent.wire.states import Admission
from fleet.accounts.roles import Role
from fleet.api.auth import allow
from fleet.api.lists import Number, Paged, Search
from fleet.api.schemas import (
    Changed,
    CommandIn,
    CommandOut,
    DeviceChange,
    DeviceClassName,
    DeviceOut,
    DevicesIn,
    EventOut,
    GroupIn,
    GroupOut,
    JobOut,
    NewTokenOut,
    Problem,
    SampleOut,
    TokenIn,
    TokenOut,
)
from fleet.audit.models import Event
from fleet.devices import liveness, services
from fleet.devices.models import Device, EnrollmentToken, Group
from fleet.jobs import services as jobs
from fleet.rollouts import services as rollouts
from fleet.rollouts.models import Command

router = Router()
WRONG = {409: Problem}


def _devices():
    return Device.objects.filter(retired_at=None)


def _out(device: Device, now: datetime) -> Device:
    device.liveness = liveness.liveness(device.online, device.last_seen, device.sample_at, now)
    return device


class _Live(Paged):
    """Liveness is computed for the rows of the page alone."""

    def paginate_queryset(self, queryset, pagination, **params):
        page = super().paginate_queryset(queryset, pagination, **params)
        now = timezone.now()
        page["items"] = [_out(device, now) for device in page["items"]]
        return page


@router.get("/devices", response=list[DeviceOut], tags=["devices"])
@paginate(_Live)
def devices(
    request,
    search: Search = "",
    device_class: DeviceClassName | None = None,
    state: liveness.Liveness | None = None,
    live: liveness.Liveness | None = None,
    admission: Admission | None = None,
    group: Search = "",
):
    """Devices by name; filters narrow the list. `live` is another name of `state`."""
    rows = _devices()
    if search:
        rows = rows.filter(name__icontains=search)
    if device_class:
        rows = rows.filter(device_class=device_class)
    if admission:
        rows = rows.filter(admission=admission)
    if group:
        rows = rows.filter(groups__name=group)
    for wanted in filter(None, (state, live)):
        rows = liveness.filter_by(rows, wanted, timezone.now())
    return rows


@router.post("/devices/accept", response=Changed, auth=allow(Role.OPERATOR), tags=["devices"])
def accept(request, body: DevicesIn):
    """Let pending devices in."""
    return {"changed": services.accept(_devices().filter(pk__in=body.devices), request.user)}


@router.post("/devices/reject", response=Changed, auth=allow(Role.OPERATOR), tags=["devices"])
def reject(request, body: DevicesIn):
    return {"changed": services.reject(_devices().filter(pk__in=body.devices), request.user)}


@router.get("/devices/{device_id}", response=DeviceOut, tags=["devices"])
def device(request, device_id: str):
    return _out(get_object_or_404(_devices(), pk=device_id), timezone.now())


@router.patch("/devices/{device_id}", response={200: DeviceOut, **WRONG}, auth=allow(Role.OPERATOR), tags=["devices"])
def change_device(request, device_id: str, change: DeviceChange):
    """Rename a device, or change its desired settings."""
    found = get_object_or_404(_devices(), pk=device_id)
    if change.name is not None:
        services.rename(found, change.name, request.user)
    if change.config is not None:
        services.set_config(found, change.config, request.user)
    return device(request, device_id)


@router.delete("/devices/{device_id}", response={204: None, **WRONG}, auth=allow(Role.ADMIN), tags=["devices"])
def retire(request, device_id: str):
    """Take a device out of service: its login ends at once."""
    services.retire(get_object_or_404(Device, pk=device_id), request.user)
    return Status(204, None)


@router.get("/devices/{device_id}/samples", response=list[SampleOut], tags=["devices"])
@paginate(Paged)
def samples(request, device_id: str, since: datetime | None = None):
    """What it measured, newest first."""
    rows = get_object_or_404(_devices(), pk=device_id).samples.order_by("-at")
    return rows.filter(at__gt=since) if since else rows


@router.post(
    "/devices/{device_id}/reoptimize", response={201: JobOut, **WRONG}, auth=allow(Role.OPERATOR), tags=["devices"]
)
def reoptimize(request, device_id: str):
    """Measure candidates on the device itself, and deploy the best one there."""
    from fleet.api.jobs import out

    return Status(201, out(jobs.start_reoptimization(get_object_or_404(_devices(), pk=device_id), request.user)))


@router.get("/devices/{device_id}/commands", response=list[CommandOut], tags=["devices"])
@paginate(Paged)
def commands(request, device_id: str):
    return get_object_or_404(_devices(), pk=device_id).commands.all()


@router.post(
    "/devices/{device_id}/commands", response={201: CommandOut, **WRONG}, auth=allow(Role.OPERATOR), tags=["devices"]
)
def send_command(request, device_id: str, body: CommandIn):
    found = get_object_or_404(_devices(), pk=device_id)
    return Status(201, rollouts.send_command(found, body.kind, body.args, request.user, body.deadline_seconds))


@router.get("/commands/{command_id}", response=CommandOut, tags=["devices"])
def command(request, command_id: str):
    return get_object_or_404(Command, pk=command_id)


@router.post(
    "/commands/{command_id}/cancel", response={200: CommandOut, **WRONG}, auth=allow(Role.OPERATOR), tags=["devices"]
)
def cancel_command(request, command_id: str):
    rollouts.cancel_command(get_object_or_404(Command.objects.select_related("device"), pk=command_id), request.user)
    return command(request, command_id)


# --- Groups ---------------------------------------------------------------------------------------------------------


def _groups():
    return Group.objects.annotate(device_count=Count("devices"))


def _group_out(group) -> dict:
    return {"name": group.name, "description": group.description, "devices": group.device_count}


@router.get("/groups", response=list[GroupOut], tags=["groups"])
def groups(request):
    return [_group_out(group) for group in _groups()]


@router.post("/groups", response={201: GroupOut, **WRONG}, auth=allow(Role.OPERATOR), tags=["groups"])
def create_group(request, body: GroupIn):
    made = services.create_group(body.name, body.description, request.user)
    return Status(201, _group_out(_groups().get(pk=made.pk)))


@router.post("/groups/{name}/devices", response=Changed, auth=allow(Role.OPERATOR), tags=["groups"])
def add_to_group(request, name: str, body: DevicesIn):
    group = get_object_or_404(Group, name=name)
    return {"changed": services.add_to_group(group, _devices().filter(pk__in=body.devices), request.user)}


@router.post("/groups/{name}/devices/remove", response=Changed, auth=allow(Role.OPERATOR), tags=["groups"])
def remove_from_group(request, name: str, body: DevicesIn):
    group = get_object_or_404(Group, name=name)
    return {"changed": services.remove_from_group(group, _devices().filter(pk__in=body.devices), request.user)}


@router.delete("/groups/{name}", response={204: None}, auth=allow(Role.OPERATOR), tags=["groups"])
def delete_group(request, name: str):
    services.delete_group(get_object_or_404(Group, name=name), request.user)
    return Status(204, None)


# --- Enrollment -----------------------------------------------------------------------------------------------------


@router.get("/enrollment-tokens", response=list[TokenOut], auth=allow(Role.ADMIN), tags=["enrollment"])
@paginate(Paged)
def tokens(request):
    return EnrollmentToken.objects.all()


@router.post("/enrollment-tokens", response={201: NewTokenOut, **WRONG}, auth=allow(Role.ADMIN), tags=["enrollment"])
def create_token(request, body: TokenIn):
    """A token that devices enroll with. Its text is in this answer and nowhere else."""
    group = get_object_or_404(Group, name=body.group) if body.group else None
    token, text = services.create_token(
        body.name, request.user, body.max_uses, body.auto_accept, body.expires_at, group
    )
    token.token = text
    return Status(201, token)


@router.delete(
    "/enrollment-tokens/{token_id}", response={204: None, **WRONG}, auth=allow(Role.ADMIN), tags=["enrollment"]
)
def revoke_token(request, token_id: str):
    services.revoke_token(get_object_or_404(EnrollmentToken, pk=token_id), request.user)
    return Status(204, None)


@router.get("/events", response=list[EventOut], tags=["events"])
@paginate(Paged)
def events(request, device: Search = "", rollout: Number | None = None, kind: Search = ""):
    """What happened, newest first."""
    rows = Event.objects.all()
    if device:
        rows = rows.filter(device_id=device)
    if rollout:
        rows = rows.filter(rollout_id=rollout)
    if kind:
        rows = rows.filter(kind__startswith=kind)
    return rows
