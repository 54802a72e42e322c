"""The one place that changes a deployment's state: a conditional update, and a stored row for each change."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from django.db import connection
from django.db.models import CharField, DateTimeField, Value
from django.utils import timezone

from agent.wire.states import DEPLOYMENT_ENDS, reachable
from agent.wire.states import Deployment as State
from fleet.audit.services import announce
from fleet.rollouts.models import Deployment, Transition

#: Deployments in one statement: every database takes so many values.
SLICE = 10_000


def move(
    deployments: Iterable[Deployment], new: State, reason: str = "", now: datetime | None = None, **columns: object
) -> list[Deployment]:
    """Move those that may go there, by the server's word; columns are written with the state.

    Two statements for ten thousand that come from one state. Returns the ones that moved; one that changed meanwhile
    stays as it is.
    """
    now = now or timezone.now()
    by_state: dict[State, list[Deployment]] = defaultdict(list)
    for deployment in deployments:
        if reachable(State(deployment.state), new):
            by_state[State(deployment.state)].append(deployment)
    moved: list[Deployment] = []
    for old, group in by_state.items():
        for start in range(0, len(group), SLICE):
            claimed = _claimed(group[start : start + SLICE], old, new, reason, now, columns)
            for deployment in claimed:
                deployment.state, deployment.reason, deployment.changed_at = new, reason, now
            _store(claimed, old, new, reason, now)
            moved += claimed
    announce_moves(moved)
    return moved


def _claimed(
    group: list[Deployment], old: State, new: State, reason: str, now: datetime, columns: dict[str, object]
) -> list[Deployment]:
    """Those of `group` that were still in `old`, now in `new`."""
    ids = [deployment.pk for deployment in group]
    changes: dict[str, object] = {"state": new, "changed_at": now, "reason": reason[:1000], **columns}
    if new in DEPLOYMENT_ENDS:
        changes["finished_at"] = now
    if Deployment.objects.filter(pk__in=ids, state=old).update(**changes) == len(group):
        return group
    won = set(Deployment.objects.filter(pk__in=ids, state=new, changed_at=now).values_list("pk", flat=True))
    return [deployment for deployment in group if deployment.pk in won]


def _store(moved: list[Deployment], old: State, new: State, reason: str, now: datetime) -> None:
    """A row for each, made by the database: ten thousand objects would take a second to write down."""
    if not moved:
        return
    chosen = Deployment.objects.filter(pk__in=[deployment.pk for deployment in moved]).order_by()
    values = chosen.values_list(
        "pk",
        Value(now, output_field=DateTimeField()),
        Value(old.value, output_field=CharField()),
        Value(new.value, output_field=CharField()),
        Value(reason[:1000], output_field=CharField()),
    )
    sql, parameters = values.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {Transition._meta.db_table} (deployment_id, at, old, new, reason) {sql}",
            parameters,
        )


def announce_moves(deployments: Iterable[Deployment]) -> None:
    """Open pages of the rollouts and of (at most 200) devices look again."""
    moved = list(deployments)
    if moved:
        announce(
            "fleet",
            *{f"rollout:{deployment.rollout_id}" for deployment in moved},
            *[f"device:{deployment.device_id}" for deployment in moved[:200]],
        )
