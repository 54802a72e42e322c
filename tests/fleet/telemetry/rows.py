"""Samples as the gateway would have stored them: with their roll-ups, and with a sketch that has their p50 and p95."""

from collections.abc import Iterable

from django.db import transaction

from agent.wire import latency
from agent.wire.messages import Sample as WireSample
from agent.wire.messages import Stages
from fleet.telemetry import store
from fleet.telemetry.models import Sample
from fleet.telemetry.summing import take_up_all

_PLAIN = [
    name
    for name in (field.attname for field in Sample._meta.concrete_fields)
    if name in WireSample.__struct_fields__ and name not in ("at", "latency")
]


def bins_of(decisions: int, p50: float | None, p95: float | None) -> dict[int, int]:
    """Half of the decisions as fast as p50, the others as p95."""
    if not decisions or p50 is None or p95 is None:
        return {}
    slow = decisions // 2
    halves = ((p50, decisions - slow), (p95, slow))
    return latency.added({latency.bin_of(took): count} for took, count in halves if count)


def add(rows: Iterable[Sample]) -> None:
    rows, made = list(rows), []
    for row in rows:
        stages = {name: getattr(row, f"stage_{name}") or 0 for name in Stages.__struct_fields__}
        sample = WireSample(
            at=row.at.timestamp(),
            latency=bins_of(row.decisions, row.latency_p50, row.latency_p95),
            stages=Stages(**stages) if row.stage_compute is not None else None,
            **{name: getattr(row, name) for name in _PLAIN},
        )
        made.append((row.device_id, row.boot_id, sample))
    with transaction.atomic():
        store.add(made, rows[-1].received_at)
    take_up_all()
