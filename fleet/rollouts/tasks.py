"""The periodic tick. Idempotent: two at once do no harm."""

from datetime import datetime

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from agent.wire.states import DEPLOYMENT_IN_FLIGHT, DEPLOYMENT_OPEN
from agent.wire.states import Command as CommandState
from agent.wire.states import Deployment as State
from agent.wire.states import Rollout as RolloutState
from fleet.audit.services import announce
from fleet.celery import app
from fleet.rollouts import measured, services, steering, telling
from fleet.rollouts.commands import OPEN_COMMANDS
from fleet.rollouts.models import Command, Deployment, Rollout
from fleet.rollouts.transitions import move

#: Deployments that are given up in one tick; the next one goes on.
MOST_OVERDUE = 1000


@app.task
def tick() -> None:
    """End what is overdue, begin what was scheduled, and take one look at every running rollout."""
    now = timezone.now()
    with transaction.atomic():
        _time_out(now)
        _expire_commands(now)
    due = Q(state=RolloutState.RUNNING) | Q(state=RolloutState.SCHEDULED, starts_at__lte=now)
    for pk, state in Rollout.objects.filter(due).order_by("pk").values_list("pk", "state"):
        if state == RolloutState.SCHEDULED:
            _begin(pk)
        else:
            steering.step(pk, now)


@app.task
def measure() -> None:
    """Look how the phases do that are held against the variants before. Apart from the tick: it reads many samples."""
    now = timezone.now()
    for phase in measured.open_phases():
        measured.look(phase, now)


@transaction.atomic
def _begin(pk: int) -> None:
    rollout = steering.locked(pk, RolloutState.SCHEDULED)
    if rollout is not None:
        services.begin(rollout)


def _time_out(now: datetime) -> None:
    """Give up what is over its deadline. What a person holds back is not: it has its time from when it goes on."""
    held = Q(state=State.QUEUED) & ~Q(rollout__state=RolloutState.RUNNING) & ~Q(rollout__state=RolloutState.ABORTED)
    overdue = list(
        Deployment.objects.filter(state__in=sorted(DEPLOYMENT_OPEN), deadline__lt=now)
        .exclude(held)
        .order_by()
        .only("state", "rollout", "device")[:MOST_OVERDUE]
    )
    told = [deployment for deployment in overdue if deployment.state in DEPLOYMENT_IN_FLIGHT]
    move(overdue, State.TIMED_OUT, "it did not end before its deadline")
    telling.take_back_told(told)


def _expire_commands(now) -> None:
    overdue = Command.objects.filter(
        state__in=OPEN_COMMANDS,
        deadline__lt=now,
    )
    devices = list(overdue.values_list("device_id", flat=True)[:200])
    if devices:
        overdue.update(
            state=CommandState.EXPIRED, reason="the device did not answer before the deadline", changed_at=now
        )
        announce(*(f"device:{device}" for device in devices))
