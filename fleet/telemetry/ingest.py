"""Samples onto rows: each once, whatever comes twice, late or out of order."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings

from agent.wire.messages import Sample as WireSample
from agent.wire.messages import Telemetry
from fleet.telemetry import store

#: A device's clock may be ahead by this much; later samples are refused.
AHEAD = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch. refused are samples, by device and reason; samples those that were new."""

    refused: list[tuple[str, str]]
    samples: int = 0
    repeated: int = 0


def telemetry(bodies: Iterable[tuple[str, Telemetry]], now: datetime) -> Outcome:
    """Store the samples of a batch of devices that may speak, in the caller's transaction; a few statements.

    Roll-ups and the devices' latest state follow in transactions of their own (fleet.telemetry.summing).
    """
    earliest = (now - timedelta(days=settings.SAMPLE_DAYS)).timestamp()
    latest = (now + AHEAD).timestamp()
    refused: list[tuple[str, str]] = []
    measured = []
    for device_id, body in bodies:
        for sample in body.samples:
            if earliest <= sample.at <= latest:
                measured.append((device_id, body.boot_id, sample))
            else:
                refused.append((device_id, _problem(sample, latest)))
    new = store.add(measured, now)
    return Outcome(refused, new, len(measured) - new)


def _problem(sample: WireSample, latest: float) -> str:
    when = datetime.fromtimestamp(sample.at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if sample.at > latest:
        return f"a sample of {when} lies in the future: the device's clock is ahead"
    return f"a sample of {when} is older than what is kept, or the device's clock is behind"
