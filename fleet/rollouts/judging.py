"""What a rollout would do with a device, and how it ended, in words: pure functions of plain data."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from agent.wire.fit import Need, Room, misfits
from agent.wire.states import DEPLOYMENT_BAD, DEPLOYMENT_OPEN, Deployment

Verdict = Literal["update", "already", "blocked", "no_variant", "pinned"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is known of a device before it is asked."""

    device_class: str
    active_manifest: str
    room: Room
    #: Why it stays at what it runs; empty when it does not.
    pinned: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """The release's variant for the device's class, and what it needs there beside the running one."""

    manifest: str
    need: Need


def judge(device: Candidate, offer: Offer | None) -> tuple[Verdict, str]:
    """What a rollout would do with a device, and the reason in a sentence."""
    if offer is None:
        words = device.device_class.replace("_", " ")
        return "no_variant", f"The release has no variant for {words} devices."
    if device.active_manifest == offer.manifest:
        return "already", "It already runs this variant."
    if device.pinned:
        return "pinned", f"It is pinned: {device.pinned}"
    if reasons := misfits(offer.need, device.room):
        return "blocked", " ".join(reasons)
    return "update", "It will be updated."


def ended(counts: Mapping[str, int]) -> bool:
    """Whether nothing is left to wait for."""
    return not any(counts.get(state, 0) for state in DEPLOYMENT_OPEN)


def refusal(judged: Iterable[tuple[Verdict, str]], everyone: str, nobody: str) -> str:
    """Why a rollout to devices with these verdicts would update none of them; empty when it would update one.

    everyone and nobody begin the sentences: `Every device in berlin` (already runs it), `No device in berlin can`.
    """
    verdicts = list(judged)
    if any(verdict == "update" for verdict, _ in verdicts):
        return ""
    reasons = Counter(reason for verdict, reason in verdicts if verdict != "already")
    if not reasons:
        return f"{everyone} already runs it."
    already = len(verdicts) - reasons.total()
    parts = [f"{already:d} already run{'s' if already == 1 else ''} it"] if already else []
    parts += [f"{reason[:1].lower()}{reason[1:].rstrip('.')}" for reason, _ in reasons.most_common(3)]
    return f"{nobody} take it: {'; '.join(parts)}."


def summary(counts: Mapping[str, int], already: int) -> str:
    """`3 of 6 devices took it, 1 already ran it, 1 was left out, 1 failed`, for the end of a rollout.

    counts are by state; already are those of the skipped that ran the variant before: the others were left out.
    """
    total = sum(counts.values())
    took, left_out = counts.get(Deployment.ACTIVE, 0), counts.get(Deployment.SKIPPED, 0) - already
    parts = [f"{took} of {total} device{'' if total == 1 else 's'} took it"]
    if already:
        parts.append(f"{already} already ran it")
    if left_out:
        parts.append(f"{left_out} {'was' if left_out == 1 else 'were'} left out")
    ends = (*sorted(DEPLOYMENT_BAD), Deployment.CANCELED, Deployment.SUPERSEDED)
    parts += [f"{counts[state]} {state.replace('_', ' ')}" for state in ends if counts.get(state)]
    return ", ".join(parts)
