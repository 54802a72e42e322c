"""What devices measured, and what the server measured of those in hybrid mode."""

import math
import random
from datetime import datetime, timedelta

from agent.wire.hardware import GIB
from fleet.devices.models import Device
from fleet.inference.models import WITHIN_MS, Usage
from fleet.telemetry.models import Sample
from tests.fleet.telemetry import rows as stored


def usage(devices: list[Device], now: datetime) -> None:
    """Every fifth device is in hybrid mode; the second of them asks too much, and one stranger tried."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    hybrid = devices[::5]
    Device.objects.filter(pk__in=[device.pk for device in hybrid]).update(mode="hybrid", config={"mode": "hybrid"})
    rows = [Usage(device="", hour=hour, process="sample", requests=4, refused_login=4, last_at=now)]
    for number, device in enumerate(hybrid):
        answered = 40 + 97 * number % 3000
        mean = 8 + number % 30
        quota, late = (310 if number == 1 else 0), number % 4
        within = {f"within_{limit}": answered if limit >= 2 * mean else answered // 2 for limit in WITHIN_MS}
        rows.append(
            Usage(
                device=device.pk,
                hour=hour,
                process="sample",
                requests=answered + quota + late,
                answered=answered,
                bytes_in=37_120 * answered,
                bytes_out=610 * answered,
                milliseconds=mean * answered,
                slowest=mean * 3.2,
                refused_quota=quota,
                refused_late=late,
                last_at=now - timedelta(seconds=7 * number),
                **within,
            )
        )
    Usage.objects.bulk_create(rows, batch_size=200)


def samples(device: Device, hours: int, pick: random.Random, now: datetime) -> None:
    """A sample each 5 s, and some minutes in which nothing was measured."""
    steps = hours * 720
    gap = range(steps // 2, steps // 2 + 60 * hours)
    rows = [_sample(device, number, steps, pick, now) for number in range(steps) if number not in gap]
    stored.add(rows)
    device.refresh_from_db()
    device.online, device.last_seen, device.sample_at = True, now, now
    device.save()


def _sample(device: Device, number: int, steps: int, pick: random.Random, now: datetime) -> Sample:
    wave = math.sin(number / 300)
    at = now - timedelta(seconds=5 * (steps - number))
    p50 = 38 + 3 * wave + pick.uniform(-1, 1)
    done = 1 if number % 3 == 0 else 0
    return Sample(
        device=device,
        at=at,
        received_at=at,
        boot_id="b-0",
        seq=number,
        cpu_percent=31 + 6 * wave + pick.uniform(-2, 2),
        memory_used=int((1.9 + 0.1 * wave) * GIB),
        memory_total=4 * GIB,
        agent_memory=int(0.21 * GIB),
        temperature=58 + 4 * wave,
        power=4.2 + 0.4 * wave,
        power_source="estimated",
        energy_per_action=0.31 + 0.03 * wave,
        network_rx=1800 + 400 * wave,
        network_tx=900,
        disk_used=int((9 + number / 17_280) * GIB),
        disk_total=32 * GIB,
        interval=5,
        decisions=25,
        latency_p50=p50,
        latency_p95=p50 * 1.4 + (45 if number % 900 == 880 else 0),
        stage_queue=0.4,
        stage_preprocess=3.1,
        stage_compute=p50 - 5,
        stage_postprocess=1.5,
        stage_network=0.0,
        over_compute=10 if p50 > 41 else 0,
        cache_lookups=25,
        cache_hits=pick.randint(2, 9),
        episodes=done,
        successes=done if pick.random() < 0.95 else 0,
    )
