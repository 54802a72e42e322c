"""The list of devices, and a group's members."""

from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404

from fleet.dashboard.export.reading import Params, in_order, readable
from fleet.dashboard.export.table import Column, Table, count, flag, number, text, time
from fleet.dashboard.selectors import devices as of_devices
from fleet.dashboard.selectors import groups as of_groups
from fleet.dashboard.selectors.naming import Running, running
from fleet.devices.liveness import liveness
from fleet.devices.models import Device, Group, Tag


@dataclass(slots=True)
class _Beside:
    """What is looked up beside a block of devices: prefetched rows would hold their devices in memory for a while."""

    names: dict[str, Running] = field(default_factory=dict)
    tags: dict[str, list[str]] = field(default_factory=dict)

    def look(self, ids: list[str]) -> list[Device]:
        devices = list(Device.objects.filter(pk__in=ids))
        self.names |= running({device.active_manifest for device in devices} - set(self.names))
        self.tags.clear()
        for tag in Tag.objects.filter(device__in=ids):
            self.tags.setdefault(tag.device_id, []).append(str(tag))
        return devices


def _device_columns(now: datetime, beside: _Beside) -> tuple[Column[Device], ...]:

    def runs(device: Device, of: str) -> str:
        known = beside.names.get(device.active_manifest)
        return getattr(known, of) if known else ""

    return (
        text("device", lambda d: d.pk),
        text("name", lambda d: d.name),
        text("state", lambda d: liveness(d.online, d.last_seen, d.sample_at, now).value),
        text("admission", lambda d: d.admission),
        flag("retired", lambda d: d.retired_at is not None),
        flag("simulated", lambda d: d.simulated),
        text("class", lambda d: d.device_class),
        text("board", lambda d: str(d.hardware.get("board", ""))),
        text("tags", lambda d: ", ".join(beside.tags.get(d.pk, ()))),
        text("agent_version", lambda d: d.agent_version),
        text("model_version", lambda d: runs(d, "version")),
        text("variant", lambda d: runs(d, "variant")),
        text("manifest", lambda d: d.active_manifest),
        number("latency_p50_ms", lambda d: d.latency_p50),
        number("latency_p95_ms", lambda d: d.latency_p95),
        count("decisions", lambda d: d.decisions),
        count("errors", lambda d: d.errors),
        count("episodes", lambda d: d.episodes),
        count("successes", lambda d: d.successes),
        number("cpu_percent", lambda d: d.cpu_percent),
        count("memory_used_bytes", lambda d: d.memory_used),
        count("memory_total_bytes", lambda d: d.memory_total),
        count("storage_free_bytes", lambda d: d.storage_free),
        number("temperature_celsius", lambda d: d.temperature),
        number("power_watts", lambda d: d.power),
        text("power_source", lambda d: d.power_source),
        number("energy_per_action_joules", lambda d: d.energy_per_action),
        time("sample_at", lambda d: d.sample_at),
        time("last_seen", lambda d: d.last_seen),
    )


def _devices(name: str, rows: QuerySet[Device], now: datetime) -> Table[Device]:
    beside = _Beside()
    return Table(name, _device_columns(now, beside), in_order(rows, beside.look))


def devices(params: Params, of: str, now: datetime) -> Table[Device]:
    return _devices("devices", of_devices.ordered(readable(params, now), now), now)


def members(params: Params, of: str, now: datetime) -> Table[Device]:
    group = get_object_or_404(Group, name=of)
    rows, _ = of_groups.found(group, readable(params, now), now)
    return _devices(f"group-{of}", rows.order_by("name", "id"), now)
