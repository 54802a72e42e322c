"""Rollouts: listed, square by square, and why what waits waits."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Count, F, Q, QuerySet

from agent.wire.states import DEPLOYMENT_BAD, DEPLOYMENT_OPEN
from agent.wire.states import Deployment as State
from agent.wire.states import Rollout as RolloutState
from fleet.catalog.models import Release
from fleet.dashboard import listing
from fleet.dashboard.selectors.progress import BY_KEY, KIND_KEYS, Kind, Progress, is_there, kind_of, present, progress
from fleet.dashboard.words import word
from fleet.devices.models import Group
from fleet.rollouts.models import RAN_ALREADY, Deployment, Rollout
from fleet.rollouts.waiting import reason, with_ahead


@dataclass(frozen=True, slots=True)
class RolloutLine:
    rollout: Rollout
    progress: Progress


@dataclass(frozen=True, slots=True)
class RolloutList:
    rows: list[RolloutLine]
    pager: listing.Pager
    state: listing.State
    chosen: str


def _with_names(rows: QuerySet[Rollout]) -> QuerySet[Rollout]:
    return rows.select_related("release__version__model", "group", "created_by")


def rollouts(params: Mapping[str, str], now: datetime) -> RolloutList:
    """Newest first; three queries."""
    chosen = listing.choice(params, "state", tuple(state.value for state in RolloutState))
    rows = Rollout.objects.filter(state=chosen) if chosen else Rollout.objects.all()
    pager = listing.pager(params, rows.count(), 50)
    page = list(_with_names(rows)[pager.start : pager.end])
    counted = progress(page, now)
    state = listing.State({"state": chosen, "page": str(pager.number) if pager.number > 1 else ""})
    return RolloutList([RolloutLine(row, counted[row.pk]) for row in page], pager, state, chosen)


def open_rollouts(now: datetime, count: int = 4) -> list[RolloutLine]:
    rows = Rollout.objects.filter(state__in=[RolloutState.RUNNING, RolloutState.PAUSED])
    page = list(_with_names(rows)[:count])
    counted = progress(page, now) if page else {}
    return [RolloutLine(row, counted[row.pk]) for row in page]


@dataclass(frozen=True, slots=True)
class Square:
    device_id: str
    name: str
    cell: str
    label: str


#: More squares than this are no map any more; the table has every device.
MOST_SQUARES = 3000


def squares(rollout: Rollout, now: datetime) -> list[Square]:
    """One square for each device, in the order of the bar; one query."""
    rows = (
        rollout.deployments.annotate(already=RAN_ALREADY)
        .order_by("device__name", "device_id")
        .values_list(
            "device_id", "device__name", "state", "already", "device__online", "device__last_seen", "device__sample_at"
        )[:MOST_SQUARES]
    )
    made = []
    for device_id, name, state, already, *seen in rows:
        kind = kind_of(state, present(*seen, now), already)
        said = (kind.word if state == State.SKIPPED else word("deployment", state)).label.lower()
        made.append((KIND_KEYS.index(kind.key), Square(device_id, name, kind.cell, f"{name}: {said}")))
    return [square for _, square in sorted(made, key=lambda pair: pair[0])]


@dataclass(frozen=True, slots=True)
class DeploymentRow:
    deployment: Deployment
    kind: Kind
    reason: str


@dataclass(frozen=True, slots=True)
class DeploymentList:
    rows: list[DeploymentRow]
    pager: listing.Pager
    state: listing.State
    kind: str
    q: str


def deployments(rollout: Rollout, params: Mapping[str, str], now: datetime) -> DeploymentList:
    """One page of a rollout's devices, those in motion first; two queries."""
    kind = listing.choice(params, "kind", KIND_KEYS)
    q = listing.text(params, "q")
    rows = with_ahead(rollout.deployments.annotate(already=RAN_ALREADY))
    if q:
        rows = rows.filter(Q(device__name__icontains=q) | Q(device__id__icontains=q))
    if kind == "offline":
        rows = rows.filter(~is_there(now), state__in=sorted(DEPLOYMENT_OPEN))
    elif kind == "already":
        rows = rows.filter(RAN_ALREADY)
    elif kind:
        rows = rows.filter(state__in=sorted(BY_KEY[kind].states))
        if kind == "left":
            rows = rows.filter(Q(variant=None) | ~RAN_ALREADY)
        if kind in ("updating", "waiting"):
            rows = rows.filter(is_there(now))
    pager = listing.pager(params, rows.count(), 50)
    page = rows.select_related("device", "variant__trial").order_by(
        F("finished_at").desc(nulls_first=True), "device__name", "id"
    )[pager.start : pager.end]
    made = []
    for row in page:
        row.rollout = rollout
        there = present(row.device.online, row.device.last_seen, row.device.sample_at, now)
        kind_here = kind_of(row.state, there, row.already)
        made.append(DeploymentRow(row, kind_here, reason(row, row.device, now) or row.reason))
    state = listing.State({"kind": kind, "q": q, "page": str(pager.number) if pager.number > 1 else ""})
    return DeploymentList(made, pager, state, kind, q)


@dataclass(frozen=True, slots=True)
class Why:
    """A reason and how many devices have it; `states` are the words of their ends."""

    reason: str
    count: int
    states: tuple[str, ...] = field(default=())


def failures(rollout: Rollout, count: int = 8) -> list[Why]:
    """Bad ends by reason, the commonest first; one query."""
    rows = (
        rollout.deployments.filter(state__in=sorted(DEPLOYMENT_BAD))
        .order_by()
        .values_list("reason", "state")
        .annotate(Count("pk"))
    )
    found: Counter[str] = Counter()
    states: dict[str, set[str]] = {}
    for text, state, number in rows:
        found[text] += number
        states.setdefault(text, set()).add(word("deployment", state).label.lower())
    return [
        Why(text or "No reason was reported.", number, tuple(sorted(states[text])))
        for text, number in found.most_common(count)
    ]


#: Waiting sentences are made one by one: beyond this many they are a sample, and the page says so.
MOST_WAITS = 2000


def waits(rollout: Rollout, now: datetime, count: int = 8) -> list[Why]:
    """Why open deployments wait, the commonest first. Times and steps are cut off: many devices are one reason."""
    rows = (
        with_ahead(rollout.deployments.filter(state__in=sorted(DEPLOYMENT_OPEN)))
        .select_related("device")
        .only(
            "state",
            "reason",
            "progress",
            "rollout_id",
            "device__online",
            "device__last_seen",
            "device__sample_at",
        )
        .order_by()[:MOST_WAITS]
    )
    found: Counter[str] = Counter()
    for row in rows:
        row.rollout = rollout
        found[_common(reason(row, row.device, now))] += 1
    return [Why(text, number) for text, number in found.most_common(count)]


def _common(sentence: str) -> str:
    head, _, _ = sentence.partition(", ")
    if sentence.startswith("Waiting for the device: last seen"):
        return "Waiting for the device: it is offline."
    if head == "Downloading" or head.startswith("Waiting for r-"):
        return f"{head}."
    return sentence


# --- A new rollout --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choices:
    """What a new rollout can be made of."""

    releases: list[Release]
    groups: list[tuple[str, int]]


def choices(count: int = 100) -> Choices:
    releases = list(Release.objects.select_related("version__model").order_by("-created_at")[:count])
    groups = list(
        Group.objects.annotate(
            n=Count("devices", filter=Q(devices__retired_at=None, devices__admission="accepted"))
        ).values_list("name", "n")
    )
    return Choices(releases, groups)
