"""What a rollout will move and how long it will take, before it begins. Estimates: the pages say so."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from statistics import median

from django.db.models import F

from agent.wire.states import Deployment as State
from fleet.catalog.models import Variant
from fleet.gateway.limits import fleet_rate
from fleet.rollouts.models import Deployment
from fleet.rollouts.plan import PhasePlan, Terms
from fleet.rollouts.preview import Preview

#: What a device takes for an update while nobody knows better: the watch after it is a minute.
USUAL_SECONDS = 75.0
#: As many earlier deployments are looked at.
LOOKED_AT = 200


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes and seconds.

    once: what is published when devices fetch together, each block of each variant once. each: what all devices take in
    all, less the parts that they have. seconds counts no wait for devices that are away, for windows or for robots.
    per_device is from earlier deployments where known.
    """

    once: int
    each: int
    seconds: float
    per_device: float
    known: bool


def estimate(looked: Preview, phases: Sequence[PhasePlan], terms: Terms) -> Estimate:
    """Three queries, whatever the number of devices."""
    lacking = Counter(
        (row.variant.pk, row.device.active_manifest) for row in looked.rows if row.verdict == "update" and row.variant
    )
    variants = {row.variant.pk: row.variant for row in looked.rows if row.variant}
    running = dict(
        Variant.objects.filter(manifest_digest__in={manifest for _, manifest in lacking if manifest}).values_list(
            "manifest_digest", "manifest"
        )
    )
    sizes = {(pk, manifest): _lacks(variants[pk].manifest, running.get(manifest)) for pk, manifest in lacking}
    once = sum(max(size for (pk, _), size in sizes.items() if pk == variant) for variant in {pk for pk, _ in lacking})
    each = sum(sizes[key] * number for key, number in lacking.items())
    per_device, known = _per_device()
    devices = lacking.total()
    rate = fleet_rate()
    seconds = expected(devices, phases, terms, per_device, each / rate if rate else 0.0)
    return Estimate(once, each, seconds, per_device, known)


def expected(devices: int, phases: Sequence[PhasePlan], terms: Terms, per_device: float, transfer: float) -> float:
    """Seconds for all phases: telling and updating the devices, then the soak time. transfer is for all devices."""
    total, start = 0.0, 0
    for phase in phases:
        end = max(start, phase.reach(devices))
        number, start = end - start, end
        if number:
            waves = ceil(number / terms.most_in_flight) if terms.most_in_flight else 1
            told = number / terms.per_minute * 60 if terms.per_minute else 0.0
            total += max(waves * per_device, told + per_device, transfer * number / devices)
        total += phase.limits.soak / timedelta(seconds=1)
    return total


def _lacks(wanted: dict, running: dict | None) -> int:
    """Bytes of the parts of one manifest that a device with another one does not have."""
    has = {part["digest"] for part in running["parts"]} if running else set()
    return sum(part["size"] for part in wanted["parts"] if part["digest"] not in has)


def _per_device() -> tuple[float, bool]:
    """The median of what earlier deployments took from being told to being active."""
    spans = (
        Deployment.objects.filter(state=State.ACTIVE, told_at__isnull=False)
        .order_by(F("finished_at").desc())
        .values_list("told_at", "finished_at")[:LOOKED_AT]
    )
    taken = [(end - told).total_seconds() for told, end in spans if end]
    return (median(taken), True) if taken else (USUAL_SECONDS, False)
