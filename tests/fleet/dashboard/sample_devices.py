"""Devices as they report themselves, in groups, and the tokens that they came with."""

import random
from datetime import datetime, timedelta

from django.contrib.auth.models import User

from agent.wire.hardware import GIB
from agent.wire.states import Admission
from fleet.catalog.models import Release, Variant
from fleet.devices.models import Device, EnrollmentToken, Group, Tag

BOARDS = {
    "embedded": ("Raspberry Pi 4", 4, 4, "linux/arm64", 1.0),
    "mobile": ("Jetson Orin NX", 8, 16, "linux/arm64", 0.6),
    "edge_server": ("Industrial PC", 16, 64, "linux/amd64", 0.3),
}


def devices(count: int, running: Release, pick: random.Random, now: datetime) -> list[Device]:
    """Of three classes, most of them there; each runs its variant of the release."""
    old = {variant.device_class: variant for variant in running.variants.all()}
    made = [_device(number, old, pick, now) for number in range(count)]
    Device.objects.bulk_create(made, batch_size=200)
    sites = ("berlin", "lisbon", "osaka")
    Tag.objects.bulk_create(
        (Tag(device=device, key="site", value=sites[number % 3]) for number, device in enumerate(made)),
        batch_size=1000,
    )
    Tag.objects.bulk_create((Tag(device=device, key="line", value=str(1 + n % 4)) for n, device in enumerate(made)))
    Tag.objects.bulk_create(Tag(device=device, key="spare") for device in made[5::40])
    return made


def _restraints(now: datetime) -> list[dict]:
    """Of a device whose memory is scarce."""
    cause = {"budget": "memory", "limit": 130.0 * 2**20}
    begun = now.timestamp() - 3600
    return [
        {"step": "drop_caches", **cause, "since": begun, "used": 119.0 * 2**20, "level": 0},
        {"step": "fewer_threads", **cause, "since": begun + 8, "used": 121.0 * 2**20, "level": 1},
        {"step": "smaller_variant", **cause, "since": begun + 20, "used": 118.0 * 2**20, "level": 0},
    ]


def _device(number: int, old: dict[str, Variant], pick: random.Random, now: datetime) -> Device:
    device_class = pick.choices(list(BOARDS), weights=(5, 4, 1))[0]
    board, cores, memory, platform, speed = BOARDS[device_class]
    name = {"embedded": "cam", "mobile": "arm", "edge_server": "ipc"}[device_class]
    away = pick.random() if number else 0.0  # the first one is always there
    fresh = now - timedelta(seconds=pick.uniform(0, 8))
    seen = fresh if away < 0.92 else now - timedelta(hours=pick.uniform(0.1, 60))
    state = "never" if away > 0.995 else "offline" if away > 0.93 else "silent" if away > 0.92 else "online"
    episodes = pick.randint(40, 900)
    latency = pick.gauss(48, 12) * speed + 8
    device = Device(
        id=f"d-{number:08x}",
        name=f"{name}-{number:04d}",
        nonce=f"n-{number:08x}",
        salt=b"",
        digest=b"",
        admission=Admission.PENDING if number % 125 == 124 else Admission.ACCEPTED,
        simulated=number % 3 == 2,
        created_at=now - timedelta(days=20, minutes=number),
        hardware={
            "cores": cores,
            "memory_bytes": memory * GIB,
            "storage_bytes": memory * 8 * GIB,
            "platform": platform,
            "board": board,
            "accelerators": [],
            "sensors": ["camera"],
            "declared": number % 3 == 2,
        },
        device_class=device_class,
        runtime={"name": "onnxruntime", "provider": "CPU", "threads": 2, "p50": 31.8, "tried": 4},
    )
    if state == "never" or device.admission == Admission.PENDING:
        return device
    device.agent_version = "0.1.0"
    if number == 0:
        device.restraints = _restraints(now)
        device.energy_per_action = 0.31
    device.boot_id = f"b-{number:08x}"
    device.online = state in ("online", "silent")
    device.last_seen = seen
    device.sample_at = seen if state != "silent" else now - timedelta(minutes=4)
    device.active_manifest = old[device_class].manifest_digest
    device.active_since = now - timedelta(days=3)
    device.desired_manifest = device.active_manifest
    device.cpu_percent = pick.uniform(8, 60)
    device.memory_used = int(memory * GIB * pick.uniform(0.2, 0.8))
    device.memory_total = memory * GIB
    device.temperature = pick.gauss(56, 8) if number % 5 else None
    device.power = pick.uniform(2.5, 9) if number % 7 else None
    device.power_source = "" if device.power is None else "measured" if number % 2 else "estimated"
    device.latency_p50, device.latency_p95 = latency * 0.7, latency if number % 60 else latency + 60
    device.decisions, device.episodes = episodes * 40, episodes
    device.successes = int(episodes * min(max(pick.gauss(0.95, 0.03), 0), 1))
    device.cache_lookups, device.cache_hits = episodes * 40, episodes * pick.randint(2, 20)
    device.errors = 3 if number % 90 == 1 else 0
    return device


def groups(devices: list[Device]) -> list[Group]:
    floor = Group.objects.create(name="factory-floor", description="Everything that moves in hall A")
    lab = Group.objects.create(name="lab", description="Benches; first to get anything")
    Group.objects.create(name="spare", description="")
    Group.objects.create(name="berlin-cameras", query="class:embedded tag:site=berlin -tag:spare")
    floor.devices.set(devices[: max(1, len(devices) * 4 // 5)])
    lab.devices.set(devices[-max(1, len(devices) // 10) :])
    return [floor, lab]


def tokens(group: Group, operator: User, now: datetime) -> None:
    for name, uses, limit, hours, revoked in (
        ("benches in hall A", 12, 40, 20, False),
        ("first shipment", 25, 25, 400, False),
        ("lost laptop", 1, 10, 90, True),
    ):
        EnrollmentToken.objects.create(
            name=name,
            salt=b"",
            digest=b"",
            uses=uses,
            max_uses=limit,
            created_by=operator,
            expires_at=now + timedelta(hours=hours),
            auto_accept=limit > 30,
            group=group if limit > 30 else None,
            revoked_at=now if revoked else None,
        )
