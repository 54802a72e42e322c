"""Devices, enrollment tokens, and what happened."""

from datetime import datetime

from django.shortcuts import get_object_or_404
from django.utils import timezone
from ninja import Query, Router, Status
from ninja.pagination import paginate

from agent.wire.states import Admission
from fleet.accounts.roles import Role
from fleet.api.auth import allow
from fleet.api.device_schemas import (
    CommandIn,
    CommandOut,
    DeviceChange,
    DeviceOut,
    DevicesIn,
    NewTokenOut,
    SampleOut,
    TagsIn,
    TokenIn,
    TokenOut,
)
from fleet.api.lists import Number, Paged, Search
from fleet.api.schemas import Changed, DeviceClassName, EventOut, JobOut, Problem, SearchProblem
from fleet.audit.models import Event
from fleet.devices import liveness, services, tagging
from fleet.devices.models import Device, EnrollmentToken, Group
from fleet.errors import Refused
from fleet.jobs import services as jobs
from fleet.rollouts import services as rollouts
from fleet.rollouts.models import Command
from fleet.search.conditions import matching

router = Router()
WRONG = {409: Problem}
UNREADABLE = {422: SearchProblem}


def _devices():
    return Device.objects.filter(retired_at=None).prefetch_related("tags")


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


@router.get("/devices", response={200: list[DeviceOut], **UNREADABLE}, tags=["devices"])
@paginate(_Live)
def devices(
    request,
    search: str = Query("", description="the search language: `class:mobile tag:site=berlin offline`"),
    device_class: DeviceClassName | None = None,
    state: liveness.Liveness | None = None,
    live: liveness.Liveness | None = None,
    admission: Admission | None = None,
    group: Search = "",
):
    """Devices by name; the other filters narrow what the search finds. `live` is another name of `state`."""
    now = timezone.now()
    rows = matching(search, now).prefetch_related("tags")
    if device_class:
        rows = rows.filter(device_class=device_class)
    if admission:
        rows = rows.filter(admission=admission)
    if group:
        named = Group.objects.filter(name=group).first()
        rows = rows.filter(pk__in=named.members().values("pk")) if named else rows.none()
    for wanted in filter(None, (state, live)):
        rows = liveness.filter_by(rows, wanted, now)
    return rows


@router.post("/devices/accept", response=Changed, auth=allow(Role.OPERATOR), tags=["devices"])
def accept(request, body: DevicesIn):
    """Let pending devices in."""
    return {"changed": services.accept(_devices().filter(pk__in=body.devices), request.user)}


@router.post("/devices/reject", response=Changed, auth=allow(Role.OPERATOR), tags=["devices"])
def reject(request, body: DevicesIn):
    return {"changed": services.reject(_devices().filter(pk__in=body.devices), request.user)}


@router.post(
    "/devices/tags", response={200: Changed, **WRONG, **UNREADABLE}, auth=allow(Role.OPERATOR), tags=["devices"]
)
def tag(request, body: TagsIn):
    """Add tags to many devices, and take others from them."""
    if (body.devices is None) == (body.search is None):
        raise Refused("Name devices or a search, not both.")
    chosen = _devices().filter(pk__in=body.devices) if body.search is None else matching(body.search)
    return {"changed": tagging.change(list(chosen.only("pk")), request.user, body.add, body.remove)}


@router.get("/devices/{device_id}", response=DeviceOut, tags=["devices"])
def device(request, device_id: str):
    return _out(get_object_or_404(_devices(), pk=device_id), timezone.now())


@router.patch("/devices/{device_id}", response={200: DeviceOut, **WRONG}, auth=allow(Role.OPERATOR), tags=["devices"])
def change_device(request, device_id: str, change: DeviceChange):
    """Rename a device, change its desired settings, its tags or its time zone, pin it to what it runs."""
    found = get_object_or_404(_devices(), pk=device_id)
    if change.name is not None:
        services.rename(found, change.name, request.user)
    if change.config is not None:
        services.set_config(found, change.config, request.user, confirmed=change.confirmed)
    if change.tags is not None:
        tagging.replace(found, change.tags, request.user)
    if change.time_zone is not None:
        services.set_time_zone([found], change.time_zone, request.user)
    if change.pinned:
        services.pin(found, change.pinned, request.user)
    elif change.pinned == "" and found.pinned:
        services.unpin(found, request.user)
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
def reoptimize(request, device_id: str, lighter: bool = False):
    """Measure candidates on the device itself, and deploy the best one there.

    With `lighter`, the one that takes the least of what the device asks for less of.
    """
    from fleet.api.jobs import out

    found = get_object_or_404(_devices(), pk=device_id)
    return Status(201, out(jobs.start_reoptimization(found, request.user, lighter=lighter)))


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
        body.name, request.user, body.max_uses, body.auto_accept, body.expires_at, group, body.tags
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
