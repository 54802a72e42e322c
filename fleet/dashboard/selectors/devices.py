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

from agent.wire.states import DEPLOYMENT_OPEN
from fleet.catalog.models import Variant
from fleet.dashboard import figures, listing
from fleet.dashboard.selectors.naming import Running, running
from fleet.devices.liveness import Liveness, liveness, query
from fleet.devices.models import Device, Group
from fleet.rollouts.models import Deployment
from fleet.search import services
from fleet.search.conditions import condition
from fleet.search.errors import SearchError
from fleet.search.language import parse
from fleet.search.models import SavedView
from fleet.search.refine import Parted, parted

STATES = tuple(value.value for value in Liveness)
#: A search that is too long is shown all the same, so that it can be cut; a hostile one not whole.
LONGEST_SHOWN = 2000

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
class Problem:
    """What is wrong with a search, and the search cut at that place. meant: the whole search as it may be meant.

    unfinished: somebody who is typing need not be told yet.
    """

    sentence: str
    before: str
    wrong: str
    after: str
    meant: str
    unfinished: bool


@dataclass(frozen=True, slots=True)
class Search:
    """What the list is searched for. problem: why that cannot be read. state: the liveness that it is held to."""

    text: str
    parted: Parted
    condition: Q
    problem: Problem | None = None

    @property
    def state(self) -> str:
        return self.parted.state

    def narrow(self, rows: QuerySet[Device], now: datetime) -> QuerySet[Device]:
        rows = rows.filter(self.condition)
        return rows.filter(query(Liveness(self.state), now)) if self.state else rows

    def found(self, now: datetime) -> QuerySet[Device]:
        return self.narrow(Device.objects.all(), now)


@dataclass(frozen=True, slots=True)
class Row:
    """One device of the list. Shares are 0 to 1; None where the device reported nothing."""

    pk: str
    name: str
    liveness: str
    admission: str
    retired: bool
    simulated: bool
    restrained: bool
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
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeviceList:
    """facets: how many devices of each liveness the rest of the search finds."""

    rows: list[Row]
    search: Search
    order: listing.Order
    pager: listing.Pager
    state: listing.State
    facets: dict[str, int]
    total: int

    @property
    def everything(self) -> int:
        """How many match when liveness is left out."""
        return sum(self.facets.values())

    @property
    def everything_url(self) -> str:
        return self.state.url(q=self.search.parted.rest)

    @property
    def facet_urls(self) -> list[tuple[str, int, str]]:
        """Each liveness, how many devices have it, and the search that is held to it."""
        return [(word, n, self.state.url(q=self.search.parted.at(word))) for word, n in self.facets.items()]


def search_of(params: Mapping[str, str], now: datetime) -> Search:
    """`?q=` read as a search; one query when it names groups."""
    text = params.get("q", "").strip()[:LONGEST_SHOWN]
    try:
        tree = parse(text)
        parts = parted(text, tree, STATES)
        # Without its liveness a search is one still: it was cut at a whole condition.
        return Search(text, parts, condition(parse(parts.rest) if parts.state else tree, now))
    except SearchError as problem:
        return Search(text, Parted("", text), Q(pk__in=[]), _problem(text, problem))


def _problem(text: str, problem: SearchError) -> Problem:
    at, end = problem.at, problem.at + problem.length
    meant = f"{text[:at]}{problem.instead}{text[end:]}" if problem.instead else ""
    return Problem(str(problem), text[:at], text[at:end], text[end:], meant, problem.unfinished)


def device_list(params: Mapping[str, str], now: datetime) -> DeviceList:
    """Five queries, whatever the number of devices: facets, page, tags, variants, open deployments; and one more for
    a search that names groups."""
    search = search_of(params, now)
    order = listing.order(params, SORTS, "name")
    base = Device.objects.filter(search.condition)
    counted = base.aggregate(**{f"n_{state}": Count("pk", filter=query(Liveness(state), now)) for state in STATES})
    facets = {state: counted[f"n_{state}"] or 0 for state in STATES}
    total = facets[search.state] if search.state else sum(facets.values())
    pager = listing.pager(params, total)
    found = _sorted(search.found(now), order, now).prefetch_related("tags")
    devices = list(found[pager.start : pager.end])
    state = listing.State(
        {
            "q": search.text,
            "sort": "" if str(order) == "name" else str(order),
            "per": "" if pager.per_page == listing.PER_PAGE[0] else str(pager.per_page),
            "page": str(pager.number) if pager.number > 1 else "",
        }
    )
    return DeviceList(_rows(devices, now), search, order, pager, state, facets, total)


def ordered(params: Mapping[str, str], now: datetime) -> QuerySet[Device]:
    """All that the list has pages of, in its order."""
    return _sorted(search_of(params, now).found(now), listing.order(params, SORTS, "name"), now)


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
            restrained=bool(device.restraints),
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
            tags=tuple(map(str, device.tags.all())),
        )
        for device in devices
    ]


def kept_views(user, here: DeviceList) -> list[tuple[SavedView, bool]]:
    """Saved views of this list, and whether each is what is seen now; one query."""
    seen = services.checked("/devices" + here.state.url()) if not here.search.problem else ""
    return [(view, view.address == seen) for view in services.views_for(user).filter(address__startswith="/devices?")]


def groups_to_join() -> list[str]:
    """Those that people fill."""
    return list(Group.objects.filter(query="").values_list("name", flat=True))
