"""Samples onto rows: each once, whatever comes twice, late or out of order."""

from datetime import UTC, datetime, timedelta

from django.conf import settings

from agent.wire.messages import Sample as WireSample
from agent.wire.messages import Telemetry
from fleet.devices.models import Device
from fleet.telemetry import store
from fleet.telemetry.models import Sample

Known = list[tuple[Device, Telemetry, bool]]

#: A device's clock may be ahead by this much; later samples are refused.
AHEAD = timedelta(days=1)
_COUNTERS = ("decisions", "episodes", "successes", "cache_lookups", "cache_hits", "errors")
_LATEST = (
    "cpu_percent",
    "memory_used",
    "memory_total",
    "temperature",
    "power",
    "power_source",
    "latency_p50",
    "latency_p95",
)
_PLAIN = (
    "cpu_percent",
    "memory_used",
    "memory_total",
    "disk_used",
    "disk_total",
    "network_rx",
    "network_tx",
    "temperature",
    "power",
    "power_source",
    "energy_per_action",
    "agent_memory",
    "interval",
    "decisions",
    "latency_p50",
    "latency_p95",
    "errors",
    "not_finite",
    "cache_lookups",
    "cache_hits",
    "episodes",
    "successes",
    "queued",
    "manifest",
)


def telemetry(known: Known, now: datetime) -> list[tuple[Device, str]]:
    """Store the samples of a batch and the latest figures of its devices: three statements, however many there are.

    Returns what was refused, with the reason.
    """
    refused: list[tuple[Device, str]] = []
    rows: dict[store.Key, Sample] = {}
    devices: dict[str, Device] = {}
    for device, body, _ in known:
        for sample in body.samples:
            problem = _problem(sample, now)
            if problem:
                refused.append((device, problem))
                continue
            rows.setdefault((device.pk, body.boot_id, sample.seq), _row(device, body.boot_id, sample, now))
            devices[device.pk] = device
    fresh = store.add(rows)
    for row in fresh:
        _follow(devices[row.device_id], row)
    touched = {row.device_id for row in fresh}
    changed = [*_LATEST, *_COUNTERS, "storage_free", "sample_at"]
    Device.objects.bulk_update([devices[pk] for pk in touched], changed, batch_size=50)
    return refused


def _problem(sample: WireSample, now: datetime) -> str:
    at = sample.at
    if at > (now + AHEAD).timestamp():
        return f"a sample of {_when(at)} lies in the future: the device's clock is ahead"
    if at < (now - timedelta(days=settings.SAMPLE_RETENTION_DAYS)).timestamp():
        return f"a sample of {_when(at)} is older than what is kept, or the device's clock is behind"
    return ""


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _row(device: Device, boot_id: str, sample: WireSample, now: datetime) -> Sample:
    stages = sample.stages
    return Sample(
        device_id=device.pk,
        at=datetime.fromtimestamp(sample.at, UTC),
        received_at=now,
        boot_id=boot_id,
        seq=sample.seq,
        stage_queue=stages.queue if stages else None,
        stage_preprocess=stages.preprocess if stages else None,
        stage_compute=stages.compute if stages else None,
        stage_postprocess=stages.postprocess if stages else None,
        **{name: getattr(sample, name) for name in _PLAIN},
    )


def _follow(device: Device, row: Sample) -> None:
    """The device's own columns follow its newest sample; its counters add up what its active variant did."""
    if row.manifest == device.active_manifest:
        for name in _COUNTERS:
            setattr(device, name, getattr(device, name) + getattr(row, name))
    if device.sample_at is None or row.at >= device.sample_at:
        device.sample_at = row.at
        for name in _LATEST:
            setattr(device, name, getattr(row, name))
        if row.disk_total is not None and row.disk_used is not None:
            device.storage_free = max(0, row.disk_total - row.disk_used)
