"""What a rollout would do with each device, before it does it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.db.models import QuerySet

from agent.wire.fit import Need, Room, memory_budget, misfits, written
from agent.wire.states import DEPLOYMENT_IN_FLIGHT, DEPLOYMENT_STOPPABLE, Admission
from fleet.catalog.models import Variant
from fleet.devices.models import Device
from fleet.rollouts import judging
from fleet.rollouts.models import Deployment, rollout_name


@dataclass(frozen=True, slots=True)
class PreviewRow:
    device: Device
    variant: Variant | None
    verdict: judging.Verdict
    reason: str
    #: The newer version that the device would go back from; 0 when it would not.
    over: int = 0


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
        order = ("blocked", "no_variant", "pinned", "update", "already")
        return sorted(self.rows, key=lambda row: order.index(row.verdict))


#: What `_room` reads of a device; whoever loads devices for it loads these.
ROOM_FIELDS = ("hardware", "storage_free", "config")
#: What of a device is looked at here and where a rollout is made of it.
_LOOKED_AT = (
    *ROOM_FIELDS,
    *("name", "device_class", "active_manifest", "pinned"),
    *("online", "last_seen", "sample_at"),
)


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
    versions = newer(release.version, touched.order_by().values("active_manifest"))
    rows, busy, over = [], Counter(), []
    for device in touched.only(*_LOOKED_AT).order_by("name", "id"):
        variant = variants.get(device.device_class)
        verdict, reason = judging.judge(_candidate(device), _offer(variant))
        back_from = 0
        if verdict == "update" and device.pk in ahead:
            busy[ahead[device.pk]] += 1
            reason = _updated(*ahead[device.pk])
        if verdict == "update" and device.active_manifest in versions:
            back_from = versions[device.active_manifest]
            over.append(back_from)
            reason = f"{reason[:-1]}, back from version {back_from}."
        rows.append(PreviewRow(device, variant, verdict, reason, back_from))
    return Preview(rows, Counter(row.verdict for row in rows), _lines(busy), len(over), max(over, default=0))


def newer(version, manifests: QuerySet) -> dict[str, int]:
    """Those of `manifests` (a query of digests) that are of newer versions of the model, with the version's number."""
    variants = Variant.objects.filter(
        version__model=version.model_id, version__number__gt=version.number, manifest_digest__in=manifests
    )
    return dict(variants.values_list("manifest_digest", "version__number"))


def _updated(rollout_id: int, waits: bool) -> str:
    name = rollout_name(rollout_id)
    return f"It will be updated once {name} has ended there." if waits else f"It will be updated in place of {name}."


def _lines(busy: Mapping[tuple[int, bool], int]) -> list[Busy]:
    return [Busy(rollout, waits, count) for (rollout, waits), count in sorted(busy.items())]


def _candidate(device: Device) -> judging.Candidate:
    return judging.Candidate(device.device_class, device.active_manifest, _room(device), device.pinned)


def _room(device: Device) -> Room:
    """As the device itself counts it. Before its first sample no more can be free than the storage holds in all."""
    hardware = device.hardware or {}
    memory, storage = int(hardware.get("memory_bytes") or 0), int(hardware.get("storage_bytes") or 0)
    free = storage or None if device.storage_free is None else device.storage_free
    own = int((device.config or {}).get("memory_budget") or 0)
    return Room(memory_budget(memory, own) if memory else None, free)


def _offer(variant: Variant | None) -> judging.Offer | None:
    return None if variant is None else judging.Offer(variant.manifest_digest, _need(variant))


def _need(variant: Variant) -> Need:
    return Need(int(variant.manifest.get("memory_bytes") or 0), written(variant.bytes))


def too_small(device: Device, variant: Variant) -> str:
    """Why the variant does not fit the device as it is now; empty when it does."""
    return " ".join(misfits(_need(variant), _room(device)))
