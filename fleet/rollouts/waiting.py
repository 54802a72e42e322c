"""Why a deployment waits, in a sentence; empty when it does not. Pure but for the words of liveness."""

from datetime import datetime

from agent.wire.states import DEPLOYMENT_OPEN, Deployment
from agent.wire.states import Rollout as RolloutState
from fleet.devices.liveness import Liveness, ago, liveness


def reason(deployment, device, now: datetime) -> str:
    """Takes rows with their related rollout loaded. Every open state has its sentence."""
    state = Deployment(deployment.state)
    if state not in DEPLOYMENT_OPEN:
        return ""
    word = liveness(device.online, device.last_seen, device.sample_at, now)
    if state is Deployment.QUEUED:
        if deployment.rollout.state == RolloutState.PAUSED:
            return "Waiting: the rollout is paused."
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
