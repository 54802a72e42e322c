"""Why a deployment waits: the reason, when something is tried next, and what a person can do about it."""

from dataclasses import dataclass
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
_STEPS = {
    Deployment.VERIFIED: "Every byte is there and proven; about to install.",
    Deployment.INSTALLING: "Installing beside the running version.",
    Deployment.SELF_TESTING: "Answering the golden observations.",
    Deployment.WATCHING: "Running; being watched for its first minutes.",
}
_LOOKED = "Looked at every two seconds."


@dataclass(frozen=True, slots=True)
class Wait:
    """Sentences: next is when something is tried, advice what a person can do. until is when it is given up."""

    reason: str
    next: str
    advice: str
    until: datetime | None = None


def with_ahead(rows: QuerySet["models.Deployment"]) -> QuerySet["models.Deployment"]:
    """Deployments with the rollout that has their device now: part of the same query, whatever their number."""
    ahead = models.Deployment.objects.filter(device=OuterRef("device"), state__in=sorted(DEPLOYMENT_IN_FLIGHT))
    ahead = ahead.order_by()  # one at most: the database holds a device to one deployment in flight
    return rows.annotate(
        ahead_rollout=Subquery(ahead.values("rollout_id")[:1]), ahead_state=Subquery(ahead.values("state")[:1])
    )


def reason(deployment, device, now: datetime) -> str:
    """The reason alone; empty when it does not wait."""
    found = wait(deployment, device, now)
    return found.reason if found else ""


def wait(deployment, device, now: datetime) -> Wait | None:
    """Takes rows `with_ahead` and with their related rollout loaded. Every open state has its sentences."""
    state = Deployment(deployment.state)
    if state not in DEPLOYMENT_OPEN:
        return None
    found = (
        _queued(deployment, device, now) if state is Deployment.QUEUED else _under_way(deployment, device, state, now)
    )
    return Wait(found.reason, found.next, found.advice, deployment.deadline)


def _under_way(deployment, device, state: Deployment, now: datetime) -> Wait:
    if away := _away(device, now):
        return away
    advice = "Nothing to do: the device reports by itself."
    if state is Deployment.NOTIFIED:
        told = deployment.step or "Told the device; waiting for it to begin."
        return Wait(told, "It answers as soon as it has read what it should run.", advice)
    if state is Deployment.DOWNLOADING:
        return Wait(
            f"Downloading, {deployment.progress:.0%} there.", "It asks by itself for what it still lacks.", advice
        )
    return Wait(_STEPS[state], "It goes on by itself.", advice)


def _away(device, now: datetime) -> Wait | None:
    word = liveness(device.online, device.last_seen, device.sample_at, now)
    on_return = "As soon as it connects."
    if word is Liveness.NEVER:
        return Wait(
            "Waiting for the device: it has not connected yet.", on_return, "Start its agent, or cancel the rollout."
        )
    if word is Liveness.OFFLINE:
        return Wait(
            f"Waiting for the device: last seen {ago(device.last_seen, now)}.",
            on_return,
            "Look at its power and its network, or cancel: the device keeps what it runs.",
        )
    return None


def _queued(deployment, device, now: datetime) -> Wait:
    rollout = deployment.rollout
    if held := _held(rollout):
        return held
    if deployment.phase > rollout.phase:
        return Wait(
            f"Waiting for phase {deployment.phase + 1}.",
            "When the phases before it have passed.",
            "Look at the phase that is open, or open the next one early.",
        )
    if deployment.ahead_rollout:
        ahead = models.rollout_name(deployment.ahead_rollout)
        return Wait(
            f"Waiting for {ahead}, which {_AHEAD[Deployment(deployment.ahead_state)]}.",
            "When that has ended on this device.",
            f"Let it finish, or cancel {ahead}.",
        )
    return _gated(deployment, device, now)


def _held(rollout) -> Wait | None:
    """What holds the whole rollout."""
    match rollout.state:
        case RolloutState.PAUSED:
            return Wait("Waiting: the rollout is paused.", "When somebody resumes it.", "Resume it, or cancel it.")
        case RolloutState.DRAFT:
            return Wait(
                "Waiting for a second person's approval.", "When it is approved.", "Ask another operator to approve it."
            )
        case RolloutState.SCHEDULED:
            return Wait(
                f"Waiting for its time: {rollout.starts_at:%Y-%m-%d %H:%M UTC}.", "Then.", "Start it now, or cancel it."
            )
    return None


def _gated(deployment, device, now: datetime) -> Wait:
    """What the rollout's terms wait for on this device."""
    terms = deployment.rollout.terms
    if terms.gated and (away := _away(device, now)):
        return away
    zone_name = device.time_zone or terms.zone_name
    if terms.window and not terms.window.is_open(now, zone_name):
        opens = terms.window.opens(now, zone_name)
        return Wait(
            f"Waiting for its maintenance window, {terms.window} in {zone_name}.",
            f"At {opens:%Y-%m-%d %H:%M} UTC.",
            "Set the device's time zone if that is not its own.",
        )
    if terms.only_idle and not device.idle:
        return Wait(
            "Waiting until the robot is idle.", _LOOKED, "Let its program finish: it says so by the agent's local API."
        )
    if terms.most_in_flight or terms.per_minute:
        pace = [f"at most {terms.most_in_flight} at a time"] if terms.most_in_flight else []
        pace += [f"{terms.per_minute:g} a minute"] if terms.per_minute else []
        return Wait(
            f"Waiting for its turn: {', '.join(pace)}.",
            "When devices before it have ended." if terms.most_in_flight else _LOOKED,
            "Nothing to do: the pace was chosen when the rollout was made.",
        )
    return Wait(deployment.reason or "Waiting for its turn.", _LOOKED, "Nothing to do.")
