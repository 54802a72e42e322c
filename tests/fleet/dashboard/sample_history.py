"""What a sample fleet did before: roll-ups of its classes and variants, and the marks of its first device."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta

from agent.wire import latency
from fleet.audit.models import Event
from fleet.catalog.models import Release
from fleet.devices.models import Device
from fleet.rollouts.models import Transition
from fleet.telemetry import sketches
from fleet.telemetry.models import DeviceHour, DeviceMinute, FleetHour, FleetMinute, Rollup

#: How fast a class is, and what a decision takes there in joules.
SPEED = {"embedded": (58.0, 0.42), "mobile": (36.0, 0.31), "edge_server": (19.0, 1.1)}
DAYS, MINUTES = 7, 75
_ZERO = {
    field.attname: 0
    for field in Rollup._meta.get_fields()
    if field.attname not in ("start", "latency") and not field.null
}


def remember(devices: list[Device], releases: list[Release], now: datetime) -> None:
    pick = random.Random(11)  # noqa: S311  # sample data, no secrets
    numbers = {name: sum(device.device_class == name for device in devices) for name in SPEED}
    hour, minute = int(now.timestamp()) // 3600 * 3600, int(now.timestamp()) // 60 * 60
    for model, starts, seconds in (
        (FleetHour, range(hour - DAYS * 86_400, hour + 1, 3600), 3600),
        (FleetMinute, range(minute - MINUTES * 60, minute + 1, 60), 60),
    ):
        rows = [
            row
            for start in starts
            for row in _fleet(model, start, min(seconds, int(now.timestamp()) - start), numbers, releases, hour, pick)
        ]
        model.objects.bulk_create(rows, batch_size=200)
    for device in devices[1:3]:
        for model, starts, seconds in (
            (DeviceHour, range(hour - 86_400, hour + 1, 3600), 3600),
            (DeviceMinute, range(minute - MINUTES * 60, minute + 1, 60), 60),
        ):
            p50, joules = SPEED[device.device_class]
            made = [model(start=start, device=device, **_figures(1, seconds, p50, joules, pick)) for start in starts]
            model.objects.bulk_create(made, batch_size=200)
    _marks(devices[0], now)


def _fleet(model, start: int, seconds: int, numbers, releases, hour: int, pick: random.Random) -> Iterator[Rollup]:
    """The second release came three days ago, and took over from device to device."""
    age = (hour - start) / 86_400
    new = min(max((3 - age) / 3, 0.0), 0.8)
    for number, share in ((0, 1 - new), (1, new)):
        for variant in releases[number].variants.all():
            devices = round(numbers[variant.device_class] * share)
            if devices:
                p50, joules = SPEED[variant.device_class]
                figures = _figures(devices, seconds, p50 * (1 - 0.18 * number), joules * (1 - 0.12 * number), pick)
                yield model(start=start, device_class=variant.device_class, manifest=variant.manifest_digest, **figures)


def _figures(devices: int, seconds: int, p50: float, joules: float, pick: random.Random) -> dict:
    decisions = 5 * seconds * devices
    bins: dict[int, int] = {}
    for _ in range(120):
        number = latency.bin_of(max(p50 * pick.gauss(1, 0.22), 2))
        bins[number] = bins.get(number, 0) + decisions // 120
    samples = seconds // 5 * devices
    episodes = max(decisions // 200, 1)
    return _ZERO | {
        "samples": samples,
        "interval": seconds * devices,
        "decisions": decisions,
        "errors": pick.choice((0, 0, 0, 1)),
        "episodes": episodes,
        "successes": round(episodes * pick.gauss(0.955, 0.01)),
        "power_count": samples,
        "power_measured": samples // 3,
        "energy_count": decisions,
        "energy_sum": decisions * joules * pick.gauss(1, 0.05),
        "network_count": samples,
        "network_tx_sum": samples * pick.gauss(1900, 100),
        "latency": sketches.pack(bins),
    }


def _marks(device: Device, now: datetime) -> None:
    """An update ten minutes ago, after the device had started anew."""
    deployment = device.deployments.first()
    if deployment is not None:
        Transition.objects.bulk_create(
            Transition(deployment=deployment, at=now - timedelta(minutes=ago), old=old, new=new)
            for ago, old, new in (
                (12, "notified", "downloading"),
                (11, "downloading", "verified"),
                (9, "watching", "active"),
            )
        )
    text = f"{device.name} started anew"
    Event.objects.create(at=now - timedelta(minutes=31), kind="device.booted", text=text, device=device)
