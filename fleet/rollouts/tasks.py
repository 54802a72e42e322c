"""The periodic tick. Idempotent: two at once do no harm."""

from django.db import transaction
from django.db.models import Count
from django.utils import timezone

from agent.wire.states import DEPLOYMENT_IN_FLIGHT, DEPLOYMENT_OPEN
from agent.wire.states import Command as CommandState
from agent.wire.states import Deployment as State
from agent.wire.states import Rollout as RolloutState
from fleet.audit.services import announce
from fleet.celery import app
from fleet.rollouts import policy, services
from fleet.rollouts.models import RAN_ALREADY, Command, Deployment, Rollout
from fleet.rollouts.transitions import move


@app.task
def tick() -> None:
    """End what is overdue, tell the next devices, finish what has nothing left to wait for."""
    now = timezone.now()
    with transaction.atomic():
        _time_out(now)
        _expire_commands(now)
    queued = Deployment.objects.filter(state=State.QUEUED, rollout__state=RolloutState.RUNNING)
    for rollout in Rollout.objects.filter(pk__in=queued.values("rollout")):
        with transaction.atomic():
            services.notify(rollout)
    finish_ended()


def _time_out(now) -> None:
    overdue = list(
        Deployment.objects.filter(state__in=sorted(DEPLOYMENT_OPEN), deadline__lt=now).select_related("device")[:1000]
    )
    told = [d for d in overdue if d.state in DEPLOYMENT_IN_FLIGHT and d.device.desired_deployment == d.pk]
    move(overdue, State.TIMED_OUT, "it did not end before its deadline")
    services.take_back(told)


def _expire_commands(now) -> None:
    overdue = Command.objects.filter(
        state__in=[CommandState.QUEUED, CommandState.SENT, CommandState.ACCEPTED, CommandState.RUNNING],
        deadline__lt=now,
    )
    devices = list(overdue.values_list("device_id", flat=True)[:200])
    if devices:
        overdue.update(
            state=CommandState.EXPIRED, reason="the device did not answer before the deadline", changed_at=now
        )
        announce(*(f"device:{device}" for device in devices))


def finish_ended() -> None:
    """Running rollouts in which every deployment has ended are finished."""
    running = Rollout.objects.filter(state=RolloutState.RUNNING)
    waiting = Deployment.objects.filter(rollout__in=running, state__in=sorted(DEPLOYMENT_OPEN)).values("rollout")
    for rollout in running.exclude(pk__in=waiting):
        rows = rollout.deployments.order_by().values_list("state").annotate(Count("pk"))
        already = rollout.deployments.filter(RAN_ALREADY).count()
        with transaction.atomic():
            services.finish(rollout, policy.summary(dict(rows), already))
