"""A device's page, and samples to fill it with."""

import re
from datetime import datetime, timedelta

from fleet.telemetry.models import Sample
from tests.fleet.telemetry import rows


def samples(device, start: datetime, count: int, every: float = 5, boot: str = "b-1", **given) -> None:
    rows.add(
        Sample(
            device=device,
            at=start + timedelta(seconds=every * number),
            received_at=start,
            boot_id=boot,
            seq=number,
            interval=every,
            **{"decisions": 10, "latency_p50": 40.0, "latency_p95": 60.0, **given},
        )
        for number in range(count)
    )


def page(client, device) -> str:
    return re.sub(r"\s+", " ", client.get(f"/devices/{device.pk}").text)
