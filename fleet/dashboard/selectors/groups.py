"""Groups and who is in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q, QuerySet

from agent.wire.states import Admission
from agent.wire.states import Rollout as RolloutState
from fleet.dashboard import listing
from fleet.dashboard.selectors.devices import Search, search_of
from fleet.dashboard.words import CLASS_LABELS
from fleet.devices.liveness import Liveness, liveness, query
from fleet.devices.models import Device, Group
from fleet.rollouts.models import Rollout
from fleet.search.groups import count

PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class GroupLine:
    name: str
    description: str
    query: str
    devices: int
    online: int
    classes: dict[str, int]
    open_rollouts: int


def groups(now: datetime) -> list[GroupLine]:
    """Every group with its devices counted; a few queries (fleet.search.groups.count), and one for its rollouts."""
    everything = list(Group.objects.all())
    counted = count(
        everything,
        now,
        online_=Count("pk", filter=query(Liveness.ONLINE, now)),
        **{name: Count("pk", filter=Q(device_class=name)) for name in CLASS_LABELS},
    )
    rolling = dict(
        Rollout.objects.filter(state__in=[RolloutState.RUNNING, RolloutState.PAUSED], group__isnull=False)
        .order_by()
        .values_list("group_id")
        .annotate(Count("pk"))
    )
    return [
        GroupLine(
            group.name,
            group.description,
            group.query,
            counted[group.pk]["n"],
            counted[group.pk]["online_"],
            {name: counted[group.pk][name] for name in CLASS_LABELS},
            rolling.get(group.pk, 0),
        )
        for group in everything
    ]


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
    search: Search
    adding: bool


def found(group: Group, params: Mapping[str, str], now: datetime) -> tuple[QuerySet[Device], Search]:
    """The group's devices that match the search."""
    search = search_of(params, now)
    return search.narrow(group.members().filter(retired_at=None), now), search


def members(group: Group, params: Mapping[str, str], now: datetime) -> Members:
    """`?add=1` lists the devices that are not in the group yet. Two queries, and two at most for groups that the query
    of this one or the search names."""
    adding = params.get("add") == "1" and not group.dynamic
    rows, search = found(group, params, now)
    if adding:
        others = Device.objects.exclude(groups=group).exclude(admission=Admission.REJECTED)
        rows = search.narrow(others.filter(retired_at=None), now)
    pager = listing.pager(params, rows.count(), PER_PAGE)
    shown = [
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
    return Members(
        shown, pager, listing.State({"q": search.text, "add": "1" if adding else "", "page": page}), search, adding
    )


def rollouts(group: Group, most: int = 8) -> list[Rollout]:
    return list(group.rollouts.select_related("release__version__model")[:most])
