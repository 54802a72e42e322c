"""The store before anything is measured, written in bulk by the database itself: devices, samples, roll-ups."""

from typing import Any

BOOT = "bulk"
#: Seconds between two samples of a device.
EVERY = 5
#: Devices that have roll-ups of 90 days.
LONG = 100
#: What every second device runs, and what the others do, which nobody knows.
KNOWN, UNKNOWN = "ab" * 32, "cd" * 32
_SAMPLE = {
    "cpu_percent": "20 + n % 30",
    "memory_used": "1500000000 + n % 7 * 1000000",
    "memory_total": "4294967296",
    "disk_used": "9000000000",
    "disk_total": "32000000000",
    "network_rx": "1200.5",
    "network_tx": "800.5",
    "temperature": "50 + n % 9",
    "power": "4.5",
    "power_source": "'measured'",
    "energy_per_action": "0.4",
    "agent_memory": "210000000",
    "interval": "5",
    "decisions": "25",
    "latency_p50": "40.5",
    "latency_p95": "60.5",
    "stage_queue": "0.5",
    "stage_preprocess": "3.5",
    "stage_compute": "35.5",
    "stage_postprocess": "1.5",
    "errors": "0",
    "not_finite": "0",
    "cache_lookups": "25",
    "cache_hits": "5",
    "episodes": "1",
    "successes": "1",
    "queued": "0",
    "manifest": "''",
}
#: Bins and counts of a device's minute; times 60 of its hour.
BINS = {88: 10, 90: 40, 92: 90, 94: 80, 96: 40, 98: 20, 100: 10, 102: 6, 104: 3, 110: 1}


def devices(first: int, last: int) -> None:
    """Devices with these numbers, all of them online, by two variants of one model."""
    from django.utils import timezone

    from agent.wire.hardware import GIB
    from fleet.devices.models import Device, Group

    now = timezone.now()
    boards = ("embedded", "mobile", "edge_server")
    made = [
        Device(
            id=f"d-{number:06d}",
            name=f"device-{number:06d}",
            nonce=f"n-{number:06d}",
            salt=b"",
            digest=b"",
            admission="accepted",
            device_class=boards[number % 3],
            hardware={"cores": 4, "memory_bytes": 4 * GIB, "storage_bytes": 32 * GIB, "board": "Raspberry Pi 4"},
            agent_version="0.1.0",
            boot_id=BOOT,
            online=number % 20 != 0,
            last_seen=now,
            sample_at=now,
            active_manifest=KNOWN if number % 2 else UNKNOWN,
            desired_manifest=KNOWN if number % 2 else UNKNOWN,
            cpu_percent=20.0,
            memory_used=GIB,
            memory_total=4 * GIB,
            temperature=50.0,
            power=4.0,
            power_source="measured",
            latency_p50=40.0,
            latency_p95=60.0 + number % 50,
            decisions=1000,
            episodes=40,
            successes=39,
        )
        for number in range(first, last)
    ]
    Device.objects.bulk_create(made, batch_size=500)
    group, _ = Group.objects.get_or_create(name="all")
    group.devices.add(*(device.pk for device in made))


def catalog() -> None:
    """One model with a released version and a variant, which every second device runs."""
    import msgspec

    from agent.wire import manifest as wire
    from fleet.catalog.models import Model, ModelVersion, Release, Trial, Variant

    version = ModelVersion.objects.create(
        model=Model.objects.create(name="arm"), number=1, format="onnx", file_name="m.onnx", digest="ef" * 32, size=1
    )
    trial = Trial.objects.create(version=version, device_class="embedded", key="bench", name="fp16", verdict="won")
    part = wire.Part("12" * 32, 1, "model")
    made = wire.Manifest(
        model="arm", version="1", variant="fp16", device_class="embedded", digest="34" * 32, size=1, parts=(part,)
    )
    variant = Variant.objects.create(
        version=version,
        device_class="embedded",
        trial=trial,
        manifest_digest=KNOWN,
        manifest=msgspec.to_builtins(made),
        bytes=1,
    )
    Release.objects.create(version=version, number=1).variants.set([variant])


def samples(per_device: int, now: int) -> None:
    """So many of each device, ending now (Unix seconds), in the order in which they would have come."""
    from django.db import connection

    from fleet.telemetry.models import Sample, Summed
    from fleet.telemetry.sketches import pack

    sqlite = connection.vendor == "sqlite"
    at = f"{now} - ({per_device} - n) * {EVERY}"
    when = f"strftime('%Y-%m-%d %H:%M:%f', {at}, 'unixepoch')" if sqlite else f"to_timestamp({at})"
    own = ("device_id", "boot_id", "seq", "at", "received_at")
    blob = pack({number: count // 12 for number, count in BINS.items() if count >= 12}).hex()
    sketch = f"x'{blob}'" if sqlite else f"'\\x{blob}'::bytea"
    needed = [field.column for field in Sample._meta.concrete_fields if not field.null and not field.primary_key]
    figures = dict.fromkeys((column for column in needed if column not in own), "0") | _SAMPLE | {"latency": sketch}
    columns = ", ".join((*own, *figures))
    with connection.cursor() as cursor:
        if sqlite:
            cursor.execute("PRAGMA cache_size = -2000000")
        cursor.execute(
            f"INSERT INTO {Sample._meta.db_table} ({columns}) "  # noqa: S608  # own names
            f"SELECT d.id, '{BOOT}', n, {when}, {when}, {', '.join(figures.values())} "
            f"FROM ({_numbers(per_device)}) AS numbers CROSS JOIN (SELECT id FROM devices_device ORDER BY id) AS d "
            "ORDER BY n"
        )
    Summed.objects.update(sample=Sample.objects.order_by("-id").values("id")[:1])


def _numbers(count: int) -> str:
    """A query of n from 0 on."""
    from django.db import connection

    if connection.vendor == "sqlite":
        counted = f"VALUES (0) UNION ALL SELECT n + 1 FROM c WHERE n < {count - 1}"  # noqa: S608  # a number
        return f"WITH RECURSIVE c(n) AS ({counted}) SELECT n FROM c"  # noqa: S608  # its own words
    return f"SELECT generate_series(0, {count - 1}) AS n"


def rollups(minutes: int, hours: int, now: int) -> None:
    """So many minutes and hours of every device; 90 days of hours of the first LONG."""
    from fleet.telemetry.models import DeviceHour, DeviceMinute

    _rollup(DeviceMinute, 60, minutes, now, "true", 12)
    _rollup(DeviceHour, 3600, hours, now, f"d.id >= 'd-{LONG:06d}'", 720)
    _rollup(DeviceHour, 3600, 90 * 24, now, f"d.id < 'd-{LONG:06d}'", 720)


def _rollup(model: Any, seconds: int, count: int, now: int, which: str, each: int) -> None:
    from django.db import connection, models

    from fleet.telemetry.sketches import pack

    blob = pack({number: bin_ * each // 12 for number, bin_ in BINS.items()}).hex()
    literal = f"x'{blob}'" if connection.vendor == "sqlite" else f"'\\x{blob}'::bytea"
    columns = {}
    for field in model._meta.concrete_fields:
        if field.column in ("id", "device_id", "start"):
            continue
        counted = isinstance(field, models.BigIntegerField) and not field.column.endswith("_max")
        columns[field.column] = literal if field.column == "latency" else str(each) if counted else f"{each} + n % 5"
    start = f"{now // seconds * seconds} - ({count} - 1 - n) * {seconds}"
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {model._meta.db_table} (device_id, start, {', '.join(columns)}) "  # noqa: S608  # own names
            f"SELECT d.id, {start}, {', '.join(columns.values())} FROM ({_numbers(count)}) AS numbers "
            f"CROSS JOIN (SELECT id FROM devices_device d WHERE {which}) AS d ORDER BY n"
        )
