"""The list of rollouts, and a rollout's devices."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from django.shortcuts import get_object_or_404

from fleet.dashboard.export.reading import Params, in_order, newest_first, readable
from fleet.dashboard.export.table import Table, count, number, text, time
from fleet.dashboard.selectors import rollouts as of_rollouts
from fleet.dashboard.selectors.progress import progress
from fleet.rollouts.models import Deployment, Rollout
from fleet.rollouts.waiting import wait, with_ahead


def deployments(params: Params, of: str, now: datetime) -> Table[Deployment]:
    rollout = get_object_or_404(Rollout, pk=int(of) if of.isascii() and of.isdigit() and len(of) < 10 else 0)

    def look(ids: list[str]) -> list[Deployment]:
        found = with_ahead(rollout.deployments.filter(pk__in=ids)).select_related("device", "variant__trial")
        return [_of(rollout, row) for row in found]

    def reason(row: Deployment) -> str:
        waits = wait(row, row.device, now)
        return waits.reason if waits else row.reason

    columns = (
        text("deployment", lambda d: d.pk),
        text("device", lambda d: d.device_id),
        text("name", lambda d: d.device.name),
        text("class", lambda d: d.device.device_class),
        text("state", lambda d: d.state),
        count("phase", lambda d: d.phase + 1),
        text("variant", lambda d: d.variant.trial.name if d.variant else ""),
        number("progress_percent", lambda d: round(100 * d.progress, 1)),
        text("reason", reason),
        text("step", lambda d: d.step),
        time("created_at", lambda d: d.created_at),
        time("told_at", lambda d: d.told_at),
        time("changed_at", lambda d: d.changed_at),
        time("finished_at", lambda d: d.finished_at),
    )
    rows = of_rollouts.found(rollout, readable(params, now), now).order_by(*of_rollouts.IN_MOTION_FIRST)
    return Table(f"rollout-{of}", columns, in_order(rows, look))


def _of(rollout: Rollout, row: Deployment) -> Deployment:
    row.rollout = rollout
    return row


def rollouts(params: Params, of: str, now: datetime) -> Table[Rollout]:
    counts: dict[int, Any] = {}

    def counted() -> Iterator[list[Rollout]]:
        for block in newest_first(of_rollouts.chosen(params)):
            counts.clear()
            counts.update(progress(block, now))
            yield block

    def number_of(key: str) -> Callable[[Rollout], int]:
        return lambda rollout: counts[rollout.pk].counts[key]

    columns = (
        count("rollout", lambda r: r.pk),
        text("version", lambda r: str(r.release.version)),
        text("target", lambda r: r.target),
        text("state", lambda r: r.state),
        text("reason", lambda r: r.reason),
        count("devices", lambda r: counts[r.pk].total),
        *(count(key, number_of(key)) for key in ("done", "already", "updating", "waiting", "offline", "failed")),
        text("started_by", lambda r: r.created_by.username if r.created_by else ""),
        time("created_at", lambda r: r.created_at),
        time("started_at", lambda r: r.started_at),
        time("finished_at", lambda r: r.finished_at),
    )
    return Table("rollouts", columns, counted())
