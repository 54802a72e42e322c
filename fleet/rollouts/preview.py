"""What a rollout would do with each device, before it does it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.db.models import QuerySet

from agent.wire.fit import Need, Room, memory_budget, misfits, written
from agent.wire.states import DEPLOYMENT_IN_FLIGHT, DEPLOYMENT_STOPPABLE, Admission
from fleet.catalog.models import Variant
from fleet.devices.models import Device
from fleet.rollouts import policy
from fleet.rollouts.models import Deployment, rollout_name


@dataclass(frozen=True, slots=True)
class PreviewRow:
    device: Device
    variant: Variant | None
    verdict: policy.Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Busy:
    """How many devices that would be updated a rollout has now; waits says whether it finishes there first."""

    rollout_id: int
    waits: bool
    count: int

    @property
    def name(self) -> str:
        return rollout_name(self.rollout_id)


@dataclass(frozen=True, slots=True)
class Preview:
    """One row for each device; counts are by verdict, busy by the rollouts that have devices now.

    back counts the devices that would go back from a newer version of the model, over is the newest of those versions.
    """

    rows: list[PreviewRow]
    counts: Counter = field(default_factory=Counter)
    busy: list[Busy] = field(default_factory=list)
    back: int = 0
    over: int = 0

    @property
    def left_out_first(self) -> list[PreviewRow]:
        """Those that it does not fit before all others: a page shows the beginning of a long list."""
        order = ("blocked", "no_variant", "update", "already")
        return sorted(self.rows, key=lambda row: order.index(row.verdict))


def members(devices: QuerySet[Device]) -> QuerySet[Device]:
    """Those of `devices` that a rollout may touch."""
    return devices.filter(admission=Admission.ACCEPTED, retired_at=None)


def preview(release, devices: QuerySet[Device]) -> Preview:
    """Judge each device. Four queries, whatever their number."""
    variants = {variant.device_class: variant for variant in release.variants.select_related("trial")}
    touched = members(devices)
    ahead = {
        device: (rollout, state not in DEPLOYMENT_STOPPABLE)
        for device, rollout, state in Deployment.objects.filter(
            device__in=touched.values("pk"), state__in=sorted(DEPLOYMENT_IN_FLIGHT)
        )
        .order_by()
        .values_list("device_id", "rollout_id", "state")
    }
    newer = _newer(release, touched)
    rows, busy, over = [], Counter(), []
    for device in touched.order_by("name", "id"):
        variant = variants.get(device.device_class)
        verdict, reason = policy.judge(_candidate(device), _offer(variant))
        if verdict == "update" and device.pk in ahead:
            busy[ahead[device.pk]] += 1
            reason = _updated(*ahead[device.pk])
        if verdict == "update" and device.active_manifest in newer:
            over.append(newer[device.active_manifest])
            reason = f"{reason[:-1]}, back from version {over[-1]}."
        rows.append(PreviewRow(device, variant, verdict, reason))
    return Preview(rows, Counter(row.verdict for row in rows), _lines(busy), len(over), max(over, default=0))


def _newer(release, devices: QuerySet[Device]) -> dict[str, int]:
    """The manifests of newer versions of the model that any of the devices runs, with the version's number."""
    variants = Variant.objects.filter(
        version__model=release.version.model_id,
        version__number__gt=release.version.number,
        manifest_digest__in=devices.order_by().values("active_manifest"),
    )
    return dict(variants.values_list("manifest_digest", "version__number"))


def _updated(rollout_id: int, waits: bool) -> str:
    name = rollout_name(rollout_id)
    return f"It will be updated once {name} has ended there." if waits else f"It will be updated in place of {name}."


def _lines(busy: Mapping[tuple[int, bool], int]) -> list[Busy]:
    return [Busy(rollout, waits, count) for (rollout, waits), count in sorted(busy.items())]


def _candidate(device: Device) -> policy.Candidate:
    return policy.Candidate(device.device_class, device.active_manifest, _room(device))


def _room(device: Device) -> Room:
    """As the device itself counts it. Before its first sample no more can be free than the storage holds in all."""
    hardware = device.hardware or {}
    memory, storage = int(hardware.get("memory_bytes") or 0), int(hardware.get("storage_bytes") or 0)
    free = storage or None if device.storage_free is None else device.storage_free
    return Room(memory_budget(memory) if memory else None, free)


def _offer(variant: Variant | None) -> policy.Offer | None:
    return None if variant is None else policy.Offer(variant.manifest_digest, _need(variant))


def _need(variant: Variant) -> Need:
    return Need(int(variant.manifest.get("memory_bytes") or 0), written(variant.bytes))


def too_small(device: Device, variant: Variant) -> str:
    """Why the variant does not fit the device as it is now; empty when it does."""
    return " ".join(misfits(_need(variant), _room(device)))
