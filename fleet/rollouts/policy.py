"""What a rollout should do next: pure functions of plain data and a clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from agent.wire.states import DEPLOYMENT_BAD, DEPLOYMENT_OPEN, Deployment

Verdict = Literal["update", "already", "blocked", "no_variant"]

#: Share of a device's storage that must stay free once the variant is there.
STORAGE_RESERVE = 0.05


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is known of a device before it is asked: sizes in bytes, 0 when unknown."""

    device_class: str
    active_manifest: str
    memory: int = 0
    storage: int = 0


@dataclass(frozen=True, slots=True)
class Offer:
    """The release's variant for the device's class."""

    manifest: str
    size: int
    memory: int = 0


def judge(device: Candidate, offer: Offer | None) -> tuple[Verdict, str]:
    """What a rollout would do with a device, and the reason in a sentence."""
    if offer is None:
        words = device.device_class.replace("_", " ")
        return "no_variant", f"The release has no variant for {words} devices."
    if device.active_manifest == offer.manifest:
        return "already", "It already runs this variant."
    if device.storage and offer.size > device.storage * (1 - STORAGE_RESERVE):
        return "blocked", f"The variant needs {_mib(offer.size)}, the device's storage holds {_mib(device.storage)}."
    if device.memory and offer.memory > device.memory:
        return "blocked", f"The model needs {_mib(offer.memory)} of memory, the device has {_mib(device.memory)}."
    return "update", "It will be updated."


def ended(counts: Mapping[str, int]) -> bool:
    """Whether nothing is left to wait for."""
    return not any(counts.get(state, 0) for state in DEPLOYMENT_OPEN)


def summary(counts: Mapping[str, int]) -> str:
    """`5 of 6 devices run it, 1 failed`, for the end of a rollout."""
    total = sum(counts.values())
    good = counts.get(Deployment.ACTIVE, 0) + counts.get(Deployment.SKIPPED, 0)
    bad = [f"{counts[state]} {state.replace('_', ' ')}" for state in sorted(DEPLOYMENT_BAD) if counts.get(state)]
    left = [f"{counts[state]} {state}" for state in (Deployment.CANCELED, Deployment.SUPERSEDED) if counts.get(state)]
    return ", ".join([f"{good} of {total} devices run it", *bad, *left])


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
