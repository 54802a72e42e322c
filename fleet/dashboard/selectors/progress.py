"""How far rollouts are: every deployment is counted once, in one of eight ways."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q
from django.utils.translation import gettext, gettext_lazy

from agent.wire.states import DEPLOYMENT_BAD, DEPLOYMENT_OPEN
from agent.wire.states import Deployment as State
from fleet.dashboard.figures import plural
from fleet.dashboard.words import Word, listed
from fleet.devices.liveness import Liveness, link_up, liveness
from fleet.rollouts.models import RAN_ALREADY, RETRYABLE, Deployment, Rollout
from fleet.rollouts.steering import PhaseCounts


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the eight ways a deployment is counted; cell is the class of its square."""

    key: str
    word: Word
    fill: str
    cell: str
    states: frozenset[State]


_UPDATING = frozenset({State.DOWNLOADING, State.VERIFIED, State.INSTALLING, State.SELF_TESTING, State.WATCHING})
_WAITING = frozenset({State.QUEUED, State.NOTIFIED})

#: In the order of the bar. An open deployment whose device is not there counts as offline; a skipped one whose device
#: ran the variant before has not been left out.
KINDS = (
    Kind("done", Word(gettext_lazy("Done"), "ok", "ok"), "ok", "d", frozenset({State.ACTIVE})),
    Kind("already", Word(gettext_lazy("Ran it already"), "ok", "ok"), "c2", "a", frozenset()),
    Kind("updating", Word(gettext_lazy("Updating"), "info", "update"), "accent", "u", _UPDATING),
    Kind("waiting", Word(gettext_lazy("Waiting"), "pending", "pending"), "pending", "w", _WAITING),
    Kind("offline", Word(gettext_lazy("Offline"), "offline", "offline"), "offline", "o", frozenset()),
    Kind("failed", Word(gettext_lazy("Failed"), "bad", "bad"), "bad", "f", DEPLOYMENT_BAD),
    Kind("left", Word(gettext_lazy("Left out"), "offline", "x"), "line", "n", frozenset({State.SKIPPED})),
    Kind(
        "stopped",
        Word(gettext_lazy("Stopped"), "offline", "x"),
        "line",
        "n",
        frozenset({State.CANCELED, State.SUPERSEDED}),
    ),
)
KIND_KEYS = tuple(kind.key for kind in KINDS)
BY_KEY = {kind.key: kind for kind in KINDS}
_BY_STATE = {state: kind for kind in KINDS for state in kind.states}


def kind_of(state: str, there: bool, already: bool = False) -> Kind:
    """there: the device's link is up; already: it ran the variant when the rollout began (RAN_ALREADY)."""
    if not there and state in DEPLOYMENT_OPEN:
        return BY_KEY["offline"]
    return BY_KEY["already"] if already else _BY_STATE[State(state)]


#: The device's link is up, with or without telemetry.
_PRESENT = (Liveness.ONLINE, Liveness.SILENT)


def present(online: bool, last_seen: datetime | None, sample_at: datetime | None, now: datetime) -> bool:
    return liveness(online, last_seen, sample_at, now) in _PRESENT


def is_there(now: datetime) -> Q:
    """`present` as a condition on deployments."""
    return link_up(now, "device__")


@dataclass(frozen=True, slots=True)
class Progress:
    """counts has every kind; shares are for the bar; retryable are those of the failed that are still in service."""

    counts: dict[str, int]
    total: int
    retryable: int

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
    def took(self) -> str:
        """`3 of 6 devices took it`, as the end of a rollout says it too (fleet.rollouts.judging.summary)."""
        return gettext("{done} of {devices} took it").format(
            done=f"{self.counts['done']:,}", devices=plural(self.total, "device")
        )

    @property
    def words(self) -> str:
        return listed(f"{self.counts[kind.key]:,} {kind.word.label.lower()}" for kind in KINDS if self.counts[kind.key])


class _Tally:
    """Adds up rows of (state, number, there, already, retryable)."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self.again = 0

    def add(self, state: str, number: int, there: int, already: int, retryable: int) -> None:
        self.again += retryable
        if state in DEPLOYMENT_OPEN:
            self.counted[kind_of(state, True).key] += there
            self.counted[kind_of(state, False).key] += number - there
        else:
            self.counted[kind_of(state, True, already=True).key] += already
            self.counted[kind_of(state, True).key] += number - already

    def progress(self) -> Progress:
        return Progress({key: self.counted[key] for key in KIND_KEYS}, self.counted.total(), self.again)


def _rows(rollouts: list[Rollout], now: datetime, *by: str):
    return (
        Deployment.objects.filter(rollout__in=rollouts)
        .order_by()
        .values_list(*by, "state")
        .annotate(
            n=Count("pk"),
            n_there=Count("pk", filter=is_there(now)),
            n_already=Count("pk", filter=RAN_ALREADY),
            n_retryable=Count("pk", filter=RETRYABLE),
        )
    )


def progress(rollouts: Iterable[Rollout], now: datetime) -> dict[int, Progress]:
    """Progress of each; one query."""
    chosen = list(rollouts)
    found = {rollout.pk: _Tally() for rollout in chosen}
    for rollout_id, *row in _rows(chosen, now, "rollout_id"):
        found[rollout_id].add(*row)
    return {pk: tally.progress() for pk, tally in found.items()}


@dataclass(frozen=True, slots=True)
class Counted:
    """A rollout's devices in all, in each phase, and as policy counts them."""

    total: Progress
    phases: dict[int, Progress]
    policy: dict[int, PhaseCounts]


def counted(rollout: Rollout, now: datetime) -> Counted:
    """One query for everything that a rollout's page counts. Who was skipped counts in all, and in no phase."""
    total, tallies, policy = _Tally(), defaultdict(_Tally), defaultdict(PhaseCounts)
    for number, state, *row in _rows([rollout], now, "phase"):
        devices, there, *_ = row
        total.add(state, *row)
        policy[number].add(state, devices, there)
        if state != State.SKIPPED:
            tallies[number].add(state, *row)
    return Counted(total.progress(), {number: tally.progress() for number, tally in tallies.items()}, dict(policy))
