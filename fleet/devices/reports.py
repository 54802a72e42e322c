"""Reported state onto device rows."""

from datetime import UTC, datetime

import msgspec

from agent.wire.hardware import DeviceClass
from agent.wire.messages import State
from fleet.audit.models import Event
from fleet.audit.services import record_many
from fleet.devices.models import Device

Known = list[tuple[Device, State, bool]]
_FIELDS = [
    "online",
    "boot_id",
    "state_seq",
    "last_seen",
    "agent_version",
    "device_class",
    "hardware",
    "mode",
    "idle",
    "active_manifest",
    "active_since",
    "reported_config_version",
    "decisions",
    "episodes",
    "successes",
    "cache_lookups",
    "cache_hits",
    "errors",
]


def states(known: Known, now: datetime) -> list[tuple[Device, str]]:
    """Apply state messages in order; one statement for all devices. Returns those refused, with the reason."""
    changed: dict[str, Device] = {}
    met: list[Device] = []
    refused: list[tuple[Device, str]] = []
    for device, state, retained in known:
        if not newer(device, state):
            continue
        if state.device_class and state.device_class not in list(DeviceClass):
            refused.append((device, f"there is no device class {state.device_class!r}"))
            continue
        if state.online and not device.boot_id:
            met.append(device)
        apply(device, state, now, retained=retained)
        changed[device.pk] = device
    Device.objects.bulk_update(changed.values(), _FIELDS, batch_size=50)
    record_many(
        Event(kind="device.connected", level="ok", text=f"{device.name} connected for the first time", device=device)
        for device in met
    )
    return refused


def newer(device: Device, state: State) -> bool:
    """Whether a state message says more than what is stored.

    A will carries the boot id of the connection that died and no number: it counts only for that boot. A boot that is
    not the stored one is a newer one, for a device speaks in one boot at a time; its retained will may come late.
    """
    if not state.online:
        return state.boot_id == device.boot_id
    return state.boot_id != device.boot_id or state.seq > device.state_seq or not device.online


def apply(device: Device, state: State, now: datetime, *, retained: bool = False) -> None:
    device.online = state.online
    # A retained message was sent at some earlier time; the device's own clock says when, and may be wrong.
    seen = min(now, datetime.fromtimestamp(state.at, UTC)) if retained else now
    if device.last_seen is None or seen > device.last_seen:
        device.last_seen = seen
    if not state.online:
        return
    device.boot_id, device.state_seq = state.boot_id, state.seq
    device.agent_version = state.agent_version
    device.mode, device.idle = state.mode, state.idle
    device.reported_config_version = state.config_version
    if state.device_class:
        device.device_class = state.device_class
    if state.hardware is not None:
        device.hardware = msgspec.to_builtins(state.hardware)
    running = state.active.manifest if state.active else ""
    if running != device.active_manifest:
        device.active_manifest = running
        device.active_since = now if running else None
        device.decisions = device.episodes = device.successes = 0
        device.cache_lookups = device.cache_hits = device.errors = 0
