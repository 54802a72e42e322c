"""The points of a device's charts."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from django.shortcuts import get_object_or_404

from fleet.dashboard.export.reading import Params
from fleet.dashboard.export.table import Table, number, time
from fleet.dashboard.selectors.series import COLUMNS, asked, series
from fleet.devices.models import Device

_UNITS = {
    **dict.fromkeys(("latency_p50", "latency_p95"), "ms"),
    **{name: "ms" for name in COLUMNS if name.startswith("stage_")},
    **{name: "bytes" for name in COLUMNS if name.startswith(("memory_", "agent_memory", "disk_"))},
    **{name: "celsius" for name in COLUMNS if name.startswith("temperature")},
    **{name: "watts" for name in COLUMNS if name.startswith("power")},
    **dict.fromkeys(("network_rx", "network_tx"), "bytes_per_second"),
    **{"energy": "joules_per_action", "rate": "per_second", "success": "share", "cache": "share"},
}


def measured(params: Params, of: str, now: datetime) -> Table[tuple]:
    """The points of a device's charts; a time in which nothing was measured has none."""
    device = get_object_or_404(Device.objects.only("pk"), pk=of)
    view = asked(params, now)

    def blocks() -> Iterator[list[tuple]]:
        points = series(device.pk, view, now)["columns"]
        rows = list(zip(*(points[name] for name in ("at", *COLUMNS)), strict=True))
        yield [row for row in rows if any(value is not None for value in row[1:])]

    def value(place: int) -> Callable[[tuple], float | None]:
        return lambda row: row[place]

    columns = (
        time("at", lambda row: datetime.fromtimestamp(row[0] / 1000, UTC)),
        *(
            number(f"{name}_{_UNITS[name]}" if name in _UNITS else name, value(place))
            for place, name in enumerate(COLUMNS, 1)
        ),
    )
    return Table(f"device-{of}-{view.chosen.key}", columns, blocks())
