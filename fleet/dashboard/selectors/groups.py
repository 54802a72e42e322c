"""Groups and who is in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q, QuerySet

from agent.wire.states import Admission
from agent.wire.states import Rollout as RolloutState
from fleet.dashboard import listing
from fleet.dashboard.words import CLASS_LABELS
from fleet.devices.liveness import Liveness, liveness, query
from fleet.devices.models import Device, Group
from fleet.rollouts.models import Rollout

PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class GroupLine:
    name: str
    description: str
    devices: int
    online: int
    classes: dict[str, int]
    open_rollouts: int


def groups(now: datetime) -> list[GroupLine]:
    """Every group with its devices counted; three queries."""
    counted = {
        row["groups"]: row
        for row in Device.objects.filter(retired_at=None, groups__isnull=False)
        .order_by()
        .values("groups")
        .annotate(
            n=Count("pk"),
            online_=Count("pk", filter=query(Liveness.ONLINE, now)),
            **{name: Count("pk", filter=Q(device_class=name)) for name in CLASS_LABELS},
        )
    }
    rolling = dict(
        Rollout.objects.filter(state__in=[RolloutState.RUNNING, RolloutState.PAUSED], group__isnull=False)
        .order_by()
        .values_list("group_id")
        .annotate(Count("pk"))
    )
    nobody = {"n": 0, "online_": 0, **dict.fromkeys(CLASS_LABELS, 0)}
    lines = []
    for group in Group.objects.all():
        row = counted.get(group.pk, nobody)
        classes = {name: row[name] for name in CLASS_LABELS}
        lines.append(
            GroupLine(group.name, group.description, row["n"], row["online_"], classes, rolling.get(group.pk, 0))
        )
    return lines


@dataclass(frozen=True, slots=True)
class Member:
    pk: str
    name: str
    device_class: str
    liveness: str
    admission: str


@dataclass(frozen=True, slots=True)
class Members:
    """One page of the devices in a group, or of those that could join it."""

    rows: list[Member]
    pager: listing.Pager
    state: listing.State
    q: str
    adding: bool


def members(group: Group, params: Mapping[str, str], now: datetime) -> Members:
    """`?add=1` lists the devices that are not in the group yet. Two queries."""
    adding = params.get("add") == "1"
    q = listing.text(params, "q")
    rows: QuerySet[Device] = Device.objects.filter(retired_at=None)
    rows = rows.exclude(groups=group).exclude(admission=Admission.REJECTED) if adding else rows.filter(groups=group)
    if q:
        rows = rows.filter(Q(name__icontains=q) | Q(id__icontains=q))
    pager = listing.pager(params, rows.count(), PER_PAGE)
    found = [
        Member(
            device.pk,
            device.name,
            device.device_class,
            liveness(device.online, device.last_seen, device.sample_at, now),
            device.admission,
        )
        for device in rows.order_by("name", "id")[pager.start : pager.end]
    ]
    page = str(pager.number) if pager.number > 1 else ""
    return Members(found, pager, listing.State({"q": q, "add": "1" if adding else "", "page": page}), q, adding)


def rollouts(group: Group, count: int = 8) -> list[Rollout]:
    return list(group.rollouts.select_related("release__version__model")[:count])
