"""How far rollouts are: every deployment is counted once, in one of eight ways."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q

from agent.wire.states import DEPLOYMENT_BAD, DEPLOYMENT_OPEN
from agent.wire.states import Deployment as State
from fleet.dashboard.figures import plural
from fleet.dashboard.words import Word
from fleet.devices.liveness import Liveness, liveness, query
from fleet.devices.models import Device
from fleet.rollouts.models import RAN_ALREADY, RETRYABLE, Deployment, Rollout


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
    Kind("done", Word("Done", "ok", "ok"), "ok", "d", frozenset({State.ACTIVE})),
    Kind("already", Word("Ran it already", "ok", "ok"), "c2", "a", frozenset()),
    Kind("updating", Word("Updating", "info", "update"), "accent", "u", _UPDATING),
    Kind("waiting", Word("Waiting", "pending", "pending"), "pending", "w", _WAITING),
    Kind("offline", Word("Offline", "offline", "offline"), "offline", "o", frozenset()),
    Kind("failed", Word("Failed", "bad", "bad"), "bad", "f", DEPLOYMENT_BAD),
    Kind("left", Word("Left out", "offline", "x"), "line", "n", frozenset({State.SKIPPED})),
    Kind("stopped", Word("Stopped", "offline", "x"), "line", "n", frozenset({State.CANCELED, State.SUPERSEDED})),
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
    online, silent = (query(state, now) for state in _PRESENT)
    return Q(device__in=Device.objects.filter(online | silent))


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
        """`3 of 6 devices took it`, as the end of a rollout says it too (fleet.rollouts.policy.summary)."""
        return f"{self.counts['done']:,} of {plural(self.total, 'device')} took it"

    @property
    def words(self) -> str:
        return ", ".join(
            f"{self.counts[kind.key]:,} {kind.word.label.lower()}" for kind in KINDS if self.counts[kind.key]
        )


def progress(rollouts: Iterable[Rollout], now: datetime) -> dict[int, Progress]:
    """Progress of each; one query."""
    chosen = list(rollouts)
    rows = (
        Deployment.objects.filter(rollout__in=chosen)
        .order_by()
        .values_list("rollout_id", "state")
        .annotate(
            n=Count("pk"),
            n_there=Count("pk", filter=is_there(now)),
            n_already=Count("pk", filter=RAN_ALREADY),
            n_retryable=Count("pk", filter=RETRYABLE),
        )
    )
    again: Counter[int] = Counter()
    counts: dict[int, Counter[str]] = {rollout.pk: Counter() for rollout in chosen}
    for rollout_id, state, number, there, already, retryable in rows:
        again[rollout_id] += retryable
        counted = counts[rollout_id]
        if state in DEPLOYMENT_OPEN:
            counted[kind_of(state, True).key] += there
            counted[kind_of(state, False).key] += number - there
        else:
            counted[kind_of(state, True, already=True).key] += already
            counted[kind_of(state, True).key] += number - already
    return {
        pk: Progress({key: counted[key] for key in KIND_KEYS}, counted.total(), again[pk])
        for pk, counted in counts.items()
    }
