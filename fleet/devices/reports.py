"""Reported state onto device rows."""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from agent.wire import restraints
from agent.wire.hardware import DeviceClass, Hardware
from agent.wire.messages import State
from fleet import units
from fleet.audit.models import Event
from fleet.audit.services import record_many
from fleet.devices.models import Device
from fleet.rows import write

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
    "restraints",
    "active_manifest",
    "active_since",
    "runtime",
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
    happened: list[Event] = []
    refused: list[tuple[Device, str]] = []
    for device, state, retained in known:
        if not newer(device, state):
            continue
        if state.device_class and state.device_class not in list(DeviceClass):
            refused.append((device, f"there is no device class {state.device_class!r}"))
            continue
        if state.online:
            happened += news(device, state)
        apply(device, state, now, retained=retained)
        changed[device.pk] = device
    write(changed.values(), _FIELDS)
    record_many(happened)
    return refused


def news(device: Device, state: State) -> Iterator[Event]:
    """What a person may want to know of a state that is about to be stored."""
    if not device.boot_id:
        text = f"{device.name} connected for the first time"
        yield Event(kind="device.connected", level="ok", text=text, device=device)
    elif state.boot_id != device.boot_id:
        yield Event(kind="device.booted", text=f"{device.name} started anew", device=device)
    before = {each["step"] for each in device.restraints}
    for each in state.restraints:
        if each.step not in before:
            text, why = f"{device.name} {restraints.doing(each)}", f"because {restraints.why(each)}"
            yield Event(kind="device.restrained", level="warn", text=text, detail=why, device=device)
    for step in sorted(before - {each.step for each in state.restraints}):
        text = f"{device.name} {restraints.ENDED[step]}"
        yield Event(kind="device.freed", level="ok", text=text, device=device)
    if state.hardware is not None and device.boot_id and device.hardware:
        for words in changes(msgspec.convert(device.hardware, Hardware), state.hardware):
            yield Event(kind="device.hardware", text=f"{device.name}: {words}"[:500], device=device)


def changes(before: Hardware, after: Hardware) -> Iterator[str]:
    """What was plugged in, taken out or given, in words. Storage is left out: its size follows the mounts."""
    for what, old, new in (
        ("sensors", before.sensors, after.sensors),
        ("accelerators", before.accelerators, after.accelerators),
    ):
        if added := [each for each in new if each not in old]:
            yield f"{what} added, {', '.join(added)}"
        if gone := [each for each in old if each not in new]:
            yield f"{what} gone, {', '.join(gone)}"
    if before.cores != after.cores:
        yield f"{before.cores:g} cores became {after.cores:g}"
    if before.memory_bytes != after.memory_bytes:
        sizes = (" ".join(units.capacity(each.memory_bytes)) for each in (before, after))
        yield "{} of memory became {}".format(*sizes)


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
    device.restraints = msgspec.to_builtins(state.restraints)
    device.reported_config_version = state.config_version
    if state.device_class:
        device.device_class = state.device_class
    if state.hardware is not None:
        device.hardware = msgspec.to_builtins(state.hardware)
    device.runtime = msgspec.to_builtins(state.runtime) if state.runtime else {}
    running = state.active.manifest if state.active else ""
    if running != device.active_manifest:
        device.active_manifest = running
        device.active_since = now if running else None
        device.decisions = device.episodes = device.successes = 0
        device.cache_lookups = device.cache_hits = device.errors = 0
