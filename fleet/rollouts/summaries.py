"""A rollout as a whole: why devices failed, what the others wait for, how fast it goes. A query each."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import SimpleNamespace

from django.db.models import Avg, Case, Count, F, Max, Min, Q, QuerySet, Value, When

from agent.wire.states import DEPLOYMENT_BAD, DEPLOYMENT_OPEN
from agent.wire.states import Deployment as State
from fleet.devices.liveness import link_up
from fleet.rollouts.models import Deployment, Rollout
from fleet.rollouts.waiting import wait, with_ahead

#: Throughput is that of the last minutes.
RECENT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Why:
    """A reason, how many devices have it, and their states. next and advice are those of a wait."""

    reason: str
    count: int
    states: tuple[str, ...] = ()
    next: str = ""
    advice: str = ""


def failures(rollout: Rollout, count: int = 8) -> list[Why]:
    """Bad ends by reason, the commonest first."""
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
        states.setdefault(text, set()).add(state)
    return [
        Why(text or "No reason was reported.", number, tuple(sorted(states[text])))
        for text, number in found.most_common(count)
    ]


#: What decides a wait's sentences, beside the rollout itself.
_ALIKE = (
    "state",
    "phase",
    "reason",
    "said",
    "there",
    "met",
    "ahead_rollout",
    "ahead_state",
    "device__idle",
    "device__time_zone",
)


def waits(rollout: Rollout, now: datetime, count: int = 8) -> list[Why]:
    """Why open deployments wait, the commonest first. Devices are counted by what decides their sentences."""
    rows = (
        _alike(rollout.deployments.filter(state__in=sorted(DEPLOYMENT_OPEN)), now)
        .values(*_ALIKE)
        .annotate(n=Count("pk"), share=Avg("progress"), seen=Max("device__last_seen"), until=Min("deadline"))
    )
    found: Counter[str] = Counter()
    first = {}
    for row in rows:
        said = wait(*_standing_for(row, rollout, now), now)
        if said is not None:
            common = _common(said.reason)
            found[common] += row["n"]
            first.setdefault(common, said)
    return [Why(text, number, (), first[text].next, first[text].advice) for text, number in found.most_common(count)]


def _alike(rows: QuerySet[Deployment], now: datetime) -> QuerySet[Deployment]:
    return (
        with_ahead(rows)
        .annotate(
            there=Case(When(link_up(now, "device__"), then=Value(True)), default=Value(False)),
            met=Case(When(device__last_seen__isnull=False, then=Value(True)), default=Value(False)),
            said=Case(When(state=State.NOTIFIED, then=F("step")), default=Value("")),
        )
        .order_by()
    )


def _standing_for(row: dict, rollout: Rollout, now: datetime) -> tuple[SimpleNamespace, SimpleNamespace]:
    """A deployment and a device that stand for all of a group."""
    seen = now if row["there"] else row["seen"] if row["met"] else None
    deployment = SimpleNamespace(
        state=row["state"],
        phase=row["phase"],
        reason=row["reason"],
        step=row["said"],
        progress=row["share"],
        rollout=rollout,
        ahead_rollout=row["ahead_rollout"],
        ahead_state=row["ahead_state"],
        deadline=row["until"],
    )
    device = SimpleNamespace(
        online=row["there"],
        last_seen=seen,
        sample_at=seen,
        idle=row["device__idle"],
        time_zone=row["device__time_zone"],
    )
    return deployment, device


def _common(sentence: str) -> str:
    """Without times and names that differ from device to device."""
    head, _, _ = sentence.partition(", ")
    if sentence.startswith("Waiting for the device: last seen"):
        return "Waiting for the device: it is offline."
    if head == "Downloading" or head.startswith("Waiting for r-"):
        return f"{head}."
    return sentence


@dataclass(frozen=True, slots=True)
class Speed:
    """Devices a minute that took it in the last minutes, and seconds left at that pace; None where nobody knows."""

    per_minute: float | None
    seconds_left: float | None


def speed(rollout: Rollout, now: datetime, reachable: int, soak: timedelta = timedelta(0)) -> Speed:
    """reachable: open deployments whose device is there; soak: soak times that are still to come."""
    found = rollout.deployments.filter(state=State.ACTIVE, finished_at__gt=now - RECENT).aggregate(
        n=Count("pk"), since=Min("told_at", filter=Q(told_at__gt=now - RECENT))
    )
    if not found["n"]:
        return Speed(None, None)
    minutes = max((now - (found["since"] or now - RECENT)) / timedelta(minutes=1), 1 / 60)
    per_minute = found["n"] / minutes
    return Speed(per_minute, reachable / per_minute * 60 + soak.total_seconds() if reachable else None)


def soak_to_come(phases, now: datetime) -> timedelta:
    """Soak times of the phases that have not passed."""
    left = timedelta(0)
    for phase in phases:
        if phase.passed_at is None:
            spent = now - phase.settled_at if phase.settled_at else timedelta(0)
            left += max(timedelta(0), phase.limits.soak - spent)
    return left
