"""What a phase's devices measured of the variant they ran before, and of the new one: a constant number of queries.

Only devices that told of both are compared, and at most MOST_DEVICES of them: more would not decide otherwise. "Before"
are the minutes before each device was told, "after" the last minutes, as many of both.
"""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta

from django.db.models import Case, Count, F, Q, QuerySet, Sum, When

from agent.wire.states import Deployment as State
from agent.wire.states import Rollout as RolloutState
from fleet.rollouts.models import Deployment, Phase
from fleet.rollouts.policy import Figures
from fleet.telemetry.models import Sample

MOST_DEVICES = 100
MINUTES = timedelta(minutes=10)

_SUMS = {
    "n": Count("pk"),
    "decided": Sum("decisions"),
    "failed": Sum(F("errors") + F("not_finite")),
    "tried": Sum(F("decisions") + F("errors") + F("not_finite")),
    "tasks": Sum("episodes"),
    "done": Sum("successes"),
    "timed": Sum(Case(When(latency_p95__isnull=False, then="decisions"), default=0)),
    "time": Sum(F("latency_p95") * F("decisions")),
    "metered": Sum(Case(When(energy_per_action__isnull=False, then="decisions"), default=0)),
    "joules": Sum(F("energy_per_action") * F("decisions")),
}


def stored(phase: Phase) -> tuple[Figures, Figures]:
    """What was measured when somebody last looked: before and after."""
    if not phase.figures:
        return Figures(), Figures()
    return Figures(**phase.figures["before"]), Figures(**phase.figures["after"])


def look(phase: Phase, now: datetime) -> None:
    """Measure, and store it with the phase."""
    before, after, devices = _measure(phase.rollout_id, phase.number, now)
    phase.figures = {"before": asdict(before), "after": asdict(after), "devices": devices}
    phase.looked_at = now
    Phase.objects.filter(pk=phase.pk).update(figures=phase.figures, looked_at=now)


def open_phases() -> list[Phase]:
    """Those whose figures somebody waits for."""
    rows = Phase.objects.filter(
        rollout__state=RolloutState.RUNNING, number=F("rollout__phase"), opened_at__isnull=False, figures_accepted=False
    )
    return [phase for phase in rows if phase.limits.compares]


def _measure(rollout_id: int, number: int, now: datetime) -> tuple[Figures, Figures, int]:
    rows = list(
        Deployment.objects.filter(
            rollout=rollout_id, phase=number, state__in=[State.WATCHING, State.ACTIVE], told_at__isnull=False
        )
        .order_by("pk")
        .values_list("device_id", "previous_manifest", "variant__manifest_digest", "told_at")[:MOST_DEVICES]
    )
    if not rows:
        return Figures(), Figures(), 0
    after = _by_device(
        Sample.objects.filter(
            device__in=[row[0] for row in rows], manifest__in={row[2] for row in rows}, at__gt=now - MINUTES
        )
    )
    spans = Q()
    for device, manifest, _, told in rows:
        if manifest:
            spans |= Q(device=device, manifest=manifest, at__gt=told - MINUTES, at__lte=told)
    before = _by_device(Sample.objects.filter(spans)) if spans else {}
    if both := before.keys() & after.keys():
        return _figures(before[pk] for pk in both), _figures(after[pk] for pk in both), len(both)
    return _figures(before.values()), _figures(after.values()), len(after)


def _by_device(rows: QuerySet[Sample]) -> dict[str, dict]:
    return {row["device"]: row for row in rows.order_by().values("device").annotate(**_SUMS)}


def _figures(rows: Iterable[dict]) -> Figures:
    total = dict.fromkeys(_SUMS, 0.0)
    for row in rows:
        for name in _SUMS:
            total[name] += row[name] or 0

    def share(part: str, whole: str) -> float | None:
        return total[part] / total[whole] if total[whole] else None

    return Figures(
        decisions=int(total["tried"]),
        episodes=int(total["tasks"]),
        latency_p95=share("time", "timed"),
        error_rate=share("failed", "tried"),
        success=share("done", "tasks"),
        energy=share("joules", "metered"),
    )
