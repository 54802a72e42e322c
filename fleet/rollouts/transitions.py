"""The one place that changes a deployment's state: a conditional update, and a stored row for each change."""

from collections import defaultdict
from collections.abc import Iterable

from django.utils import timezone

from agent.wire.states import DEPLOYMENT_ENDS, reachable
from agent.wire.states import Deployment as State
from fleet.audit.services import announce
from fleet.rollouts.models import Deployment, Transition


def move(deployments: Iterable[Deployment], new: State, reason: str = "") -> list[Deployment]:
    """Move those that may go there, by the server's word. Two statements for 500 that come from one state.

    Returns the ones that moved; one that changed meanwhile stays as it is.
    """
    now = timezone.now()
    by_state: dict[State, list[Deployment]] = defaultdict(list)
    for deployment in deployments:
        if reachable(State(deployment.state), new):
            by_state[State(deployment.state)].append(deployment)
    moved: list[Deployment] = []
    rows: list[Transition] = []
    for old, group in by_state.items():
        for start in range(0, len(group), 500):
            for deployment in _claimed(group[start : start + 500], old, new, reason, now):
                deployment.state, deployment.reason, deployment.changed_at = new, reason, now
                moved.append(deployment)
                rows.append(Transition(deployment_id=deployment.pk, at=now, old=old, new=new, reason=reason[:1000]))
    Transition.objects.bulk_create(rows, batch_size=500)
    announce_moves(moved)
    return moved


def _claimed(group: list[Deployment], old: State, new: State, reason: str, now) -> list[Deployment]:
    """Those of `group` that were still in `old`, now in `new`."""
    ids = [deployment.pk for deployment in group]
    changes: dict[str, object] = {"state": new, "changed_at": now, "reason": reason[:1000]}
    if new in DEPLOYMENT_ENDS:
        changes["finished_at"] = now
    if Deployment.objects.filter(pk__in=ids, state=old).update(**changes) == len(group):
        return group
    won = set(Deployment.objects.filter(pk__in=ids, state=new, changed_at=now).values_list("pk", flat=True))
    return [deployment for deployment in group if deployment.pk in won]


def announce_moves(deployments: Iterable[Deployment]) -> None:
    """Open pages of the rollouts and of (at most 200) devices look again."""
    moved = list(deployments)
    if moved:
        announce(
            "fleet",
            *{f"rollout:{deployment.rollout_id}" for deployment in moved},
            *[f"device:{deployment.device_id}" for deployment in moved[:200]],
        )
