"""The devices that somebody should look at first."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext

from agent.wire.states import Admission
from fleet.dashboard.figures import plural
from fleet.devices.liveness import Liveness, query
from fleet.devices.models import Device

#: Of each kind of trouble so many are looked for, and so many devices are shown in all.
EACH, SHOWN = 4, 8


@dataclass(frozen=True, slots=True)
class Worst:
    """A device, and why it is here: (tone, words), the worst reason first."""

    pk: str
    name: str
    device_class: str
    simulated: bool
    latency_p95: float | None
    temperature: float | None
    errors: int
    why: list[tuple[str, str]]


def worst(now: datetime, promise_ms: float) -> list[Worst]:
    """Online devices with the highest p95, the most errors and the highest temperature; one query.

    Who breaks the promise stands first, then who makes errors, then who is next to either.
    """
    there = Device.objects.filter(query(Liveness.ONLINE, now), retired_at=None, admission=Admission.ACCEPTED)
    chosen = (
        Q(pk__in=_most(there, "latency_p95"))
        | Q(pk__in=_most(there.filter(errors__gt=0), "errors"))
        | Q(pk__in=_most(there, "temperature"))
    )
    fields = ("pk", "name", "device_class", "simulated", "latency_p95", "temperature", "errors")
    rows = list(Device.objects.filter(chosen).order_by("name", "pk").values(*fields))
    slowest, hottest = (_highest(rows, column) for column in ("latency_p95", "temperature"))
    found = [Worst(**row, why=_why(row, promise_ms, slowest, hottest)) for row in rows]
    found.sort(key=lambda one: (-_over(one.latency_p95, promise_ms), -one.errors, -(one.latency_p95 or 0.0)))
    return [one for one in found if one.why][:SHOWN]


def _highest(rows: list[dict], column: str) -> set[str]:
    reported = [row for row in rows if row[column] is not None]
    return {row["pk"] for row in sorted(reported, key=lambda row: -row[column])[:EACH]}


def _most(rows: QuerySet[Device], column: str) -> QuerySet:
    return rows.order_by(F(column).desc(nulls_last=True), "pk").values("pk")[:EACH]


def _over(p95: float | None, promise_ms: float) -> float:
    return max((p95 or 0.0) - promise_ms, 0.0)


def _why(row: dict, promise_ms: float, slowest: set[str], hottest: set[str]) -> list[tuple[str, str]]:
    found = []
    late = _over(row["latency_p95"], promise_ms) > 0
    if late:
        found.append(("bad", gettext("breaks the promise")))
    if row["errors"]:
        found.append(("warn", plural(row["errors"], "error")))
    if row["pk"] in slowest and not late:
        found.append(("", gettext("among the slowest")))
    if row["pk"] in hottest:
        found.append(("", gettext("among the hottest")))
    return found
