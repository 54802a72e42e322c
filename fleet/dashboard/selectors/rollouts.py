"""Rollouts: how far they are, square by square, and why what waits waits."""

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
from fleet.dashboard.words import Word, word
from fleet.devices.liveness import Liveness, liveness, query
from fleet.devices.models import Device, Group
from fleet.rollouts.models import Deployment, Rollout
from fleet.rollouts.waiting import reason


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the six ways a deployment is counted; cell is the class of its square."""

    key: str
    word: Word
    fill: str
    cell: str
    states: frozenset[State]


_UPDATING = frozenset({State.DOWNLOADING, State.VERIFIED, State.INSTALLING, State.SELF_TESTING, State.WATCHING})
_WAITING = frozenset({State.QUEUED, State.NOTIFIED})
_STOPPED = frozenset({State.SKIPPED, State.CANCELED, State.SUPERSEDED})

#: In the order of the bar. An open deployment whose device is not there counts as offline.
KINDS = (
    Kind("done", Word("Done", "ok", "ok"), "ok", "d", frozenset({State.ACTIVE})),
    Kind("updating", Word("Updating", "info", "update"), "accent", "u", _UPDATING),
    Kind("waiting", Word("Waiting", "pending", "pending"), "pending", "w", _WAITING),
    Kind("offline", Word("Offline", "offline", "offline"), "offline", "o", frozenset()),
    Kind("failed", Word("Failed", "bad", "bad"), "bad", "f", DEPLOYMENT_BAD),
    Kind("stopped", Word("Not touched", "offline", "x"), "line", "n", _STOPPED),
)
KIND_KEYS = tuple(kind.key for kind in KINDS)
_BY_STATE = {state: kind for kind in KINDS for state in kind.states}
_BY_KEY = {kind.key: kind for kind in KINDS}


def kind_of(state: str, there: bool) -> Kind:
    if not there and state in DEPLOYMENT_OPEN:
        return _BY_KEY["offline"]
    return _BY_STATE[State(state)]


#: The device's link is up, with or without telemetry.
_PRESENT = (Liveness.ONLINE, Liveness.SILENT)


def _there(now: datetime) -> Q:
    """`_PRESENT` as a condition on deployments."""
    online, silent = (query(state, now) for state in _PRESENT)
    return Q(device__in=Device.objects.filter(online | silent))


@dataclass(frozen=True, slots=True)
class Progress:
    """counts has every kind; shares are for the bar."""

    counts: dict[str, int]
    total: int

    @property
    def bar(self) -> list[tuple[str, float]]:
        return [(kind.fill, self.counts[kind.key] / self.total) for kind in KINDS] if self.total else []

    @property
    def ended(self) -> int:
        return self.total - self.open

    @property
    def open(self) -> int:
        return sum(self.counts[key] for key in ("updating", "waiting", "offline"))

    @property
    def share_done(self) -> float | None:
        return self.counts["done"] / self.total if self.total else None

    @property
    def words(self) -> str:
        return ", ".join(
            f"{self.counts[kind.key]:,} {kind.word.label.lower()}" for kind in KINDS if self.counts[kind.key]
        )


def progress(rollouts: list[Rollout], now: datetime) -> dict[int, Progress]:
    """Progress of each; one query."""
    there = _there(now)
    rows = (
        Deployment.objects.filter(rollout__in=rollouts)
        .order_by()
        .values_list("rollout_id", "state")
        .annotate(n=Count("pk"), n_there=Count("pk", filter=there))
    )
    counts: dict[int, Counter[str]] = {rollout.pk: Counter() for rollout in rollouts}
    for rollout_id, state, number, present in rows:
        counts[rollout_id][kind_of(state, True).key] += present
        counts[rollout_id][kind_of(state, False).key] += number - present
    return {pk: Progress({key: counted[key] for key in KIND_KEYS}, counted.total()) for pk, counted in counts.items()}


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
    rows = rollout.deployments.order_by("device__name", "device_id").values_list(
        "device_id", "device__name", "state", "device__online", "device__last_seen", "device__sample_at"
    )[:MOST_SQUARES]
    made = []
    for device_id, name, state, *seen in rows:
        kind = kind_of(state, liveness(*seen, now) in _PRESENT)
        said = word("deployment", state).label.lower()
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
    rows = rollout.deployments.all()
    if q:
        rows = rows.filter(Q(device__name__icontains=q) | Q(device__id__icontains=q))
    if kind == "offline":
        rows = rows.filter(~_there(now), state__in=sorted(DEPLOYMENT_OPEN))
    elif kind:
        rows = rows.filter(state__in=sorted(_BY_KEY[kind].states))
        if kind in ("updating", "waiting"):
            rows = rows.filter(_there(now))
    pager = listing.pager(params, rows.count(), 50)
    page = rows.select_related("device", "variant__trial").order_by(
        F("finished_at").desc(nulls_first=True), "device__name", "id"
    )[pager.start : pager.end]
    made = []
    for row in page:
        row.rollout = rollout
        there = liveness(row.device.online, row.device.last_seen, row.device.sample_at, now) in _PRESENT
        made.append(DeploymentRow(row, kind_of(row.state, there), reason(row, row.device, now) or row.reason))
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
    """Why open deployments wait, the commonest first. Times are cut off, so that offline devices are one reason."""
    rows = (
        rollout.deployments.filter(state__in=sorted(DEPLOYMENT_OPEN))
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
    if head == "Downloading":
        return "Downloading."
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
