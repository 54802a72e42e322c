"""Why a deployment waits, in a sentence; empty when it does not."""

from datetime import datetime

from django.db.models import OuterRef, QuerySet, Subquery

from agent.wire.states import DEPLOYMENT_IN_FLIGHT, DEPLOYMENT_OPEN, Deployment
from agent.wire.states import Rollout as RolloutState
from fleet.devices.liveness import Liveness, ago, liveness
from fleet.rollouts import models

#: What the rollout ahead of a queued one is doing with the device.
_AHEAD = {
    Deployment.NOTIFIED: "told this device first",
    Deployment.DOWNLOADING: "is downloading to this device",
    Deployment.VERIFIED: "is about to install on this device",
    Deployment.INSTALLING: "is installing on this device",
    Deployment.SELF_TESTING: "is testing itself on this device",
    Deployment.WATCHING: "is being watched on this device",
}


def with_ahead(rows: QuerySet["models.Deployment"]) -> QuerySet["models.Deployment"]:
    """Deployments with the rollout that has their device now: part of the same query, whatever their number."""
    ahead = models.Deployment.objects.filter(device=OuterRef("device"), state__in=sorted(DEPLOYMENT_IN_FLIGHT))
    ahead = ahead.order_by()  # one at most: the database holds a device to one deployment in flight
    return rows.annotate(
        ahead_rollout=Subquery(ahead.values("rollout_id")[:1]), ahead_state=Subquery(ahead.values("state")[:1])
    )


def reason(deployment, device, now: datetime) -> str:
    """Takes rows `with_ahead` and with their related rollout loaded. Every open state has its sentence."""
    state = Deployment(deployment.state)
    if state not in DEPLOYMENT_OPEN:
        return ""
    word = liveness(device.online, device.last_seen, device.sample_at, now)
    if state is Deployment.QUEUED:
        if deployment.rollout.state == RolloutState.PAUSED:
            return "Waiting: the rollout is paused."
        if deployment.ahead_rollout:
            ahead = models.rollout_name(deployment.ahead_rollout)
            return f"Waiting for {ahead}, which {_AHEAD[Deployment(deployment.ahead_state)]}."
        return deployment.reason or "Waiting for its turn."
    if word is Liveness.NEVER:
        return "Waiting for the device: it has not connected yet."
    if word is Liveness.OFFLINE:
        return f"Waiting for the device: last seen {ago(device.last_seen, now)}."
    if state is Deployment.NOTIFIED:
        return "Told the device; waiting for it to begin."
    if state is Deployment.DOWNLOADING:
        return f"Downloading, {deployment.progress:.0%} there."
    return {
        Deployment.VERIFIED: "Every byte is there and proven; about to install.",
        Deployment.INSTALLING: "Installing beside the running version.",
        Deployment.SELF_TESTING: "Answering the golden observations.",
        Deployment.WATCHING: "Running; being watched for its first minutes.",
    }[state]
