"""Rollouts: listed, square by square, and why what waits waits."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

from agent.wire.states import DEPLOYMENT_OPEN, Admission
from agent.wire.states import Deployment as State
from agent.wire.states import Rollout as RolloutState
from fleet.catalog.models import Release
from fleet.dashboard import listing
from fleet.dashboard.figures import MINUS
from fleet.dashboard.selectors.devices import Search, search_of
from fleet.dashboard.selectors.progress import (
    BY_KEY,
    KIND_KEYS,
    Counted,
    Kind,
    Progress,
    is_there,
    kind_of,
    present,
    progress,
)
from fleet.dashboard.words import word
from fleet.devices.models import Group
from fleet.rollouts import summaries
from fleet.rollouts.models import RAN_ALREADY, Deployment, Phase, Rollout
from fleet.rollouts.plan import MOST_PHASES
from fleet.rollouts.summaries import Speed, Why
from fleet.rollouts.waiting import Wait, wait, with_ahead
from fleet.search.groups import count as count_members
from fleet.units import digits


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


def _state_of(params: Mapping[str, str]) -> str:
    return listing.choice(params, "state", tuple(state.value for state in RolloutState))


def chosen(params: Mapping[str, str]) -> QuerySet[Rollout]:
    """Those in the state that is asked for, newest first."""
    state = _state_of(params)
    return _with_names(Rollout.objects.filter(state=state) if state else Rollout.objects.all())


def rollouts(params: Mapping[str, str], now: datetime) -> RolloutList:
    """Three queries."""
    rows, wanted = chosen(params), _state_of(params)
    pager = listing.pager(params, rows.count(), 50)
    page = list(rows[pager.start : pager.end])
    counted = progress(page, now)
    state = listing.State({"state": wanted, "page": str(pager.number) if pager.number > 1 else ""})
    return RolloutList([RolloutLine(row, counted[row.pk]) for row in page], pager, state, wanted)


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


#: More squares than this are drawn by the hundred, by phase and state, and lead to the table.
MOST_SQUARES = 1000


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
    wait: Wait | None


@dataclass(frozen=True, slots=True)
class DeploymentList:
    rows: list[DeploymentRow]
    pager: listing.Pager
    state: listing.State
    kind: str
    search: Search
    phase: int


#: The order of a rollout's devices.
IN_MOTION_FIRST = (F("finished_at").desc(nulls_first=True), "device__name", "id")


def _asked(params: Mapping[str, str], now: datetime) -> tuple[str, Search, int]:
    """kind, a search as of the list of devices, and phase, which counts from 1."""
    return (
        listing.choice(params, "kind", KIND_KEYS),
        search_of(params, now),
        listing.number(params, "phase", 0, lowest=0, highest=MOST_PHASES),
    )


def found(rollout: Rollout, params: Mapping[str, str], now: datetime) -> QuerySet[Deployment]:
    """A rollout's devices that match."""
    return _found(rollout, *_asked(params, now), now)


def _found(rollout: Rollout, kind: str, search: Search, phase: int, now: datetime) -> QuerySet[Deployment]:
    rows = rollout.deployments.annotate(already=RAN_ALREADY)
    if phase:
        rows = rows.filter(phase=phase - 1).exclude(state=State.SKIPPED)
    if search.text:
        rows = rows.filter(device__in=search.found(now).order_by().values("pk"))
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
    return rows


def deployments(rollout: Rollout, params: Mapping[str, str], now: datetime) -> DeploymentList:
    """One page of a rollout's devices, those in motion first.

    Two queries, and one more for a search that names groups.
    """
    kind, search, phase = _asked(params, now)
    rows = _found(rollout, kind, search, phase, now)
    pager = listing.pager(params, rows.count(), 50)
    # The page is cut first: what is looked up for each row is looked up for fifty.
    shown = rows.order_by(*IN_MOTION_FIRST).values("pk")[pager.start : pager.end]
    page = with_ahead(rollout.deployments.filter(pk__in=shown).annotate(already=RAN_ALREADY))
    made = []
    for row in page.select_related("device", "variant__trial").order_by(*IN_MOTION_FIRST):
        row.rollout = rollout
        there = present(row.device.online, row.device.last_seen, row.device.sample_at, now)
        kind_here = kind_of(row.state, there, row.already)
        waits_for = wait(row, row.device, now)
        made.append(DeploymentRow(row, kind_here, waits_for.reason if waits_for else row.reason, waits_for))
    number = str(pager.number) if pager.number > 1 else ""
    state = listing.State({"kind": kind, "q": search.text, "phase": str(phase) if phase else "", "page": number})
    return DeploymentList(made, pager, state, kind, search, phase)


def failures(rollout: Rollout) -> list[Why]:
    """Bad ends by reason, the commonest first, with their states in words; one query."""
    return [
        replace(why, states=tuple(word("deployment", state).label.lower() for state in why.states))
        for why in summaries.failures(rollout)
    ]


def waits(rollout: Rollout, now: datetime) -> list[Why]:
    """Why open deployments wait, the commonest first; one query."""
    return summaries.waits(rollout, now)


@dataclass(frozen=True, slots=True)
class Compared:
    """One inference figure before and after; worse says that a limit looks at it and it is beyond."""

    name: str
    before: str
    after: str
    limit: str


@dataclass(frozen=True, slots=True)
class PhaseLine:
    """A phase as it is drawn."""

    phase: Phase
    progress: Progress
    state: str
    devices: int
    compared: list[Compared]

    @property
    def number(self) -> int:
        return self.phase.number + 1

    @property
    def soak(self) -> int:
        return self.phase.soak_seconds


def phase_lines(phases: list[Phase], counted: Counted) -> list[PhaseLine]:
    nobody = Progress(dict.fromkeys(KIND_KEYS, 0), 0, 0)
    lines = []
    for phase in phases:
        progress = counted.phases.get(phase.number, nobody)
        state = "waiting" if phase.opened_at is None else "passed" if phase.passed_at else "open"
        lines.append(PhaseLine(phase, progress, state, progress.total, _compared(phase)))
    return lines


def speed(rollout: Rollout, phases: list[Phase], progress: Progress, now: datetime) -> Speed:
    """Throughput and time left; one query."""
    reachable = progress.counts["updating"] + progress.counts["waiting"]
    return summaries.speed(rollout, now, reachable, summaries.soak_to_come(phases, now))


#: Of what was measured before and after: (name, key, unit, times, the limit's field, its unit).
_COMPARED = (
    (gettext_lazy("p95 latency"), "latency_p95", "ms", 1, "latency_rise", "%"),
    (gettext_lazy("Failed or not finite"), "error_rate", "%", 100, "error_rise", gettext_lazy("points")),
    (gettext_lazy("Task success"), "success", "%", 100, "success_loss", gettext_lazy("points")),
    (gettext_lazy("Energy per action"), "energy", "J", 1, "energy_rise", "%"),
)


def _compared(phase: Phase) -> list[Compared]:
    if not phase.figures:
        return []
    rows = []
    for name, key, unit, times, limit, limit_unit in _COMPARED:
        allowed = getattr(phase, limit)
        if allowed is None:
            continue
        before, after = (
            gettext("not measured")
            if phase.figures[side][key] is None
            else f"{digits(phase.figures[side][key] * times)} {unit}"
            for side in ("before", "after")
        )
        sign = MINUS if limit == "success_loss" else "+"
        rows.append(Compared(name, before, after, f"{sign}{allowed * 100:g} {limit_unit}"))
    return rows


# --- A new rollout --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choices:
    """What a new rollout can be made of."""

    releases: list[Release]
    everything: list[Group]
    sizes: dict[int, dict[str, int]]

    @property
    def groups(self) -> list[tuple[str, int]]:
        return [(group.name, self.sizes[group.pk]["n"]) for group in self.everything]


def choices(count: int = 100) -> Choices:
    releases = list(Release.objects.select_related("version__model").order_by("-created_at")[:count])
    groups = list(Group.objects.all())
    return Choices(releases, groups, count_members(groups, timezone.now(), Q(admission=Admission.ACCEPTED)))
