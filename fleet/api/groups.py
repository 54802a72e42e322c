"""Groups that people fill or a query decides."""

from django.shortcuts import get_object_or_404
from django.utils import timezone
from ninja import Router, Status

from fleet.accounts.roles import Role
from fleet.api.auth import allow
from fleet.api.device_schemas import DevicesIn, TimeZoneIn
from fleet.api.group_schemas import GroupChange, GroupIn, GroupOut, GroupPreviewOut
from fleet.api.lists import Search
from fleet.api.schemas import Changed, Problem, SearchProblem
from fleet.devices import services
from fleet.devices.models import Device, Group
from fleet.search import groups as queries

router = Router(tags=["groups"])
WRONG = {409: Problem}
UNREADABLE = {422: SearchProblem}


def _out(groups: list[Group]) -> list[dict]:
    counted = queries.count(groups, timezone.now())
    return [
        {**{name: getattr(group, name) for name in ("name", "description", "query")}, "devices": counted[group.pk]["n"]}
        for group in groups
    ]


def _group(name: str) -> Group:
    return get_object_or_404(Group, name=name)


@router.get("/groups", response=list[GroupOut])
def groups(request):
    return _out(list(Group.objects.all()))


@router.post("/groups", response={201: GroupOut, **WRONG, **UNREADABLE}, auth=allow(Role.OPERATOR))
def create_group(request, body: GroupIn):
    made = services.create_group(body.name, body.description, request.user, body.query)
    return Status(201, _out([made])[0])


@router.get("/groups/preview", response={200: GroupPreviewOut, **UNREADABLE})
def preview(request, query: str = "", group: Search = ""):
    """Who would be in a group with this query; of a group that there is, who would join and who would leave."""
    change = queries.change(_group(group) if group else None, query)
    return {
        **{name: getattr(change, name) for name in ("members", "joining", "leaving")},
        "joins": [device.name for device in change.joins],
        "leaves": [device.name for device in change.leaves],
    }


@router.patch("/groups/{name}", response={200: GroupOut, **WRONG, **UNREADABLE}, auth=allow(Role.OPERATOR))
def change_group(request, name: str, change: GroupChange):
    group = _group(name)
    given = {"name": group.name, "description": group.description, **change.dict(exclude_none=True)}
    services.update_group(group, by=request.user, **given)
    return _out([group])[0]


@router.post("/groups/{name}/devices", response={200: Changed, **WRONG}, auth=allow(Role.OPERATOR))
def add_to_group(request, name: str, body: DevicesIn):
    devices = Device.objects.filter(pk__in=body.devices, retired_at=None)
    return {"changed": services.add_to_group(_group(name), devices, request.user)}


@router.post("/groups/{name}/devices/remove", response={200: Changed, **WRONG}, auth=allow(Role.OPERATOR))
def remove_from_group(request, name: str, body: DevicesIn):
    devices = Device.objects.filter(pk__in=body.devices, retired_at=None)
    return {"changed": services.remove_from_group(_group(name), devices, request.user)}


@router.put("/groups/{name}/time-zone", response={200: Changed, **WRONG}, auth=allow(Role.OPERATOR))
def set_time_zone(request, name: str, body: TimeZoneIn):
    """The time zone of every device that is in the group now: where their maintenance windows are."""
    return {"changed": services.set_time_zone(_group(name).members(), body.time_zone, request.user)}


@router.delete("/groups/{name}", response={204: None, **WRONG}, auth=allow(Role.OPERATOR))
def delete_group(request, name: str):
    services.delete_group(_group(name), request.user)
    return Status(204, None)
