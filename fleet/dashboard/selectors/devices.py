"""The list of devices: searched, filtered, sorted and cut into pages by the database."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import (
    Case,
    CharField,
    Count,
    F,
    FloatField,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Cast, Concat, NullIf

from agent.wire.hardware import DeviceClass
from agent.wire.states import DEPLOYMENT_OPEN, Admission
from fleet.catalog.models import Variant
from fleet.dashboard import figures, listing
from fleet.dashboard.selectors.naming import Running, running
from fleet.devices.liveness import Liveness, liveness, query
from fleet.devices.models import Device, Group
from fleet.rollouts.models import Deployment

CLASSES = tuple(value.value for value in DeviceClass)
STATES = tuple(value.value for value in Liveness)
#: `retired` is no admission, but people look for retired devices in the same place.
ADMISSIONS = (*(value.value for value in Admission), "retired")

_SORTS: dict[str, F | str] = {
    "name": "name",
    "state": "state_rank",
    "class": "device_class",
    "version": "running_name",
    "p95": "latency_p95",
    "memory": "memory_share",
    "temperature": "temperature",
    "power": "power",
    "success": "success_share",
    "seen": "last_seen",
}
SORTS = tuple(_SORTS)


@dataclass(frozen=True, slots=True)
class Filters:
    """What the address asks for; each is empty when it does not filter."""

    q: str
    device_class: str
    state: str
    group: str
    admission: str
    simulated: str

    @property
    def any(self) -> bool:
        return any((self.q, self.device_class, self.state, self.group, self.admission, self.simulated))


@dataclass(frozen=True, slots=True)
class Row:
    """One device of the list. Shares are 0 to 1; None where the device reported nothing."""

    pk: str
    name: str
    liveness: str
    admission: str
    retired: bool
    simulated: bool
    device_class: str
    running: Running | None
    unknown_manifest: str
    update: str
    latency_p95: float | None
    memory_share: float | None
    temperature: float | None
    power: float | None
    power_source: str
    success: float | None
    last_seen: datetime | None
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeviceList:
    """facets: how many devices of each liveness match the other filters."""

    rows: list[Row]
    filters: Filters
    order: listing.Order
    pager: listing.Pager
    state: listing.State
    facets: dict[str, int]
    total: int

    @property
    def everything(self) -> int:
        """How many match when liveness is left out."""
        return sum(self.facets.values())


def filters_of(params: Mapping[str, str]) -> Filters:
    return Filters(
        q=listing.text(params, "q"),
        device_class=listing.choice(params, "class", CLASSES),
        state=listing.choice(params, "state", STATES),
        group=listing.text(params, "group"),
        admission=listing.choice(params, "admission", ADMISSIONS),
        simulated=listing.choice(params, "simulated", ("yes", "no")),
    )


def matching(filters: Filters) -> QuerySet[Device]:
    """Every filter but that of liveness. Retired devices only when they are asked for."""
    rows = Device.objects.filter(retired_at__isnull=filters.admission != "retired")
    if filters.q:
        rows = rows.filter(Q(name__icontains=filters.q) | Q(id__icontains=filters.q))
    if filters.device_class:
        rows = rows.filter(device_class=filters.device_class)
    if filters.group:
        rows = rows.filter(groups__name=filters.group)
    if filters.admission and filters.admission != "retired":
        rows = rows.filter(admission=filters.admission)
    if filters.simulated:
        rows = rows.filter(simulated=filters.simulated == "yes")
    return rows


def device_list(params: Mapping[str, str], now: datetime) -> DeviceList:
    """Five queries, whatever the number of devices: facets, page, groups, variants, open deployments."""
    filters = filters_of(params)
    order = listing.order(params, SORTS, "name")
    base = matching(filters)
    counted = base.aggregate(**{f"n_{state}": Count("pk", filter=query(Liveness(state), now)) for state in STATES})
    facets = {state: counted[f"n_{state}"] for state in STATES}
    total = facets[filters.state] if filters.state else sum(facets.values())
    pager = listing.pager(params, total)
    chosen = base.filter(query(Liveness(filters.state), now)) if filters.state else base
    devices = list(_sorted(chosen, order, now).prefetch_related("groups")[pager.start : pager.end])
    state = listing.State(
        {
            "q": filters.q,
            "class": filters.device_class,
            "state": filters.state,
            "group": filters.group,
            "admission": filters.admission,
            "simulated": filters.simulated,
            "sort": "" if str(order) == "name" else str(order),
            "per": "" if pager.per_page == listing.PER_PAGE[0] else str(pager.per_page),
            "page": str(pager.number) if pager.number > 1 else "",
        }
    )
    return DeviceList(_rows(devices, now), filters, order, pager, state, facets, total)


def _sorted(rows: QuerySet[Device], order: listing.Order, now: datetime) -> QuerySet[Device]:
    if order.column == "state":
        ranks = [When(query(Liveness(state), now), then=Value(rank)) for rank, state in enumerate(STATES)]
        rows = rows.annotate(state_rank=Case(*ranks, output_field=IntegerField()))
    elif order.column == "version":
        known = Variant.objects.filter(manifest_digest=OuterRef("active_manifest")).order_by("id")
        name = Concat(
            "version__model__name", Value("@"), Cast("version__number", CharField()), Value(" "), "trial__name"
        )
        rows = rows.annotate(running_name=Subquery(known.annotate(text=name).values("text")[:1]))
    elif order.column == "memory":
        rows = rows.annotate(memory_share=F("memory_used") * 1.0 / NullIf("memory_total", Value(0)))
    elif order.column == "success":
        share = Cast("successes", FloatField()) / NullIf(Cast("episodes", FloatField()), Value(0.0))
        rows = rows.annotate(success_share=share)
    column = F(_SORTS[order.column])
    # What was never reported is neither the best nor the worst: it stands at the end, both ways.
    key = column.desc(nulls_last=True) if order.descending else column.asc(nulls_last=True)
    return rows.order_by(key, "name", "id")


def _rows(devices: list[Device], now: datetime) -> list[Row]:
    names = running(device.active_manifest for device in devices)
    updates = dict(
        Deployment.objects.filter(device__in=devices, state__in=sorted(DEPLOYMENT_OPEN))
        .order_by("created_at")
        .values_list("device_id", "state")
    )
    return [
        Row(
            pk=device.pk,
            name=device.name,
            liveness=liveness(device.online, device.last_seen, device.sample_at, now),
            admission=device.admission,
            retired=device.retired_at is not None,
            simulated=device.simulated,
            device_class=device.device_class,
            running=names.get(device.active_manifest),
            unknown_manifest="" if device.active_manifest in names else device.active_manifest,
            update=updates.get(device.pk, ""),
            latency_p95=device.latency_p95,
            memory_share=figures.share(device.memory_used, device.memory_total),
            temperature=device.temperature,
            power=device.power,
            power_source=device.power_source,
            success=figures.share(device.successes, device.episodes),
            last_seen=device.last_seen,
            groups=tuple(group.name for group in device.groups.all()),
        )
        for device in devices
    ]


def group_names() -> list[str]:
    return list(Group.objects.values_list("name", flat=True))
