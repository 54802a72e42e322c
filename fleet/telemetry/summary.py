"""What devices did in some time, from roll-ups: many together, or each by itself; one query for any fleet."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import QuerySet

from agent.wire.latency import added, quantile
from fleet.telemetry.models import DeviceHour, DeviceMinute, DeviceRollup, FleetHour, FleetMinute, FleetRollup
from fleet.telemetry.sketches import unpack

STAGES = ("queue", "preprocess", "compute", "postprocess", "network")
_SUMS = (
    *("samples", "interval", "decisions", "errors", "not_finite", "cache_lookups", "cache_hits"),
    *("episodes", "successes", "energy_count", "energy_sum", "stage_count"),
    *("power_count", "power_measured", "network_count", "network_tx_sum"),
    *(f"stage_{name}_sum" for name in STAGES),
)
#: Up to so many seconds are read by the minute, more by the hour.
BY_MINUTE = 6 * 3600


@dataclass(slots=True)
class Summary:
    """Sums over devices and time. bins: decisions by latency (agent.wire.latency).

    energies: the mean joules of a decision in each roll-up that had some.
    """

    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_SUMS, 0))
    bins: dict[int, int] = field(default_factory=dict)
    energies: list[float] = field(default_factory=list)

    def latency(self, share: float) -> float | None:
        """Milliseconds that this share (0 to 1) of all decisions did not exceed, within 2 %."""
        return quantile(self.bins, share)

    def stage(self, name: str) -> float | None:
        """Mean milliseconds of a decision."""
        return self._of(f"stage_{name}_sum", "stage_count")

    @property
    def energy(self) -> float | None:
        """Mean joules of a decision."""
        return self._of("energy_sum", "energy_count")

    @property
    def energy_source(self) -> str:
        """Whether the power behind it was measured or estimated; empty when none was reported."""
        measured = self.sums["power_measured"]
        estimated = self.sums["power_count"] - measured
        return " and ".join(name for name, count in (("measured", measured), ("estimated", estimated)) if count)

    @property
    def sent(self) -> float | None:
        """Bytes that the devices sent in all, whatever for: their mean rate, over the time of their samples."""
        rate = self._of("network_tx_sum", "network_count")
        return None if rate is None else rate * self.sums["interval"]

    @property
    def success(self) -> float | None:
        return self._of("successes", "episodes")

    @property
    def cache(self) -> float | None:
        return self._of("cache_hits", "cache_lookups")

    def _of(self, part: str, whole: str) -> float | None:
        return self.sums[part] / self.sums[whole] if self.sums[whole] else None


def summaries(
    start: datetime, end: datetime, *by: str, device_class: str = "", manifests: Iterable[str] | None = None
) -> dict[tuple[str, ...], Summary]:
    """Summaries from start to end, rounded to whole minutes or, for long times, whole hours.

    by: `device_class`, `manifest` or both tell what has one of its own; without it there is one, under ().
    """
    model: type[FleetRollup] = FleetMinute if (end - start).total_seconds() <= BY_MINUTE else FleetHour
    rows = model.objects.filter(start__gte=int(start.timestamp()), start__lt=int(end.timestamp()))
    if device_class:
        rows = rows.filter(device_class=device_class)
    if manifests is not None:
        rows = rows.filter(manifest__in=list(manifests))
    return _summed(rows, by)


def of_devices(devices: Sequence[str], start: datetime, end: datetime) -> dict[str, Summary]:
    """As `summaries`, each device by itself. A row is looked up by its own start: the index begins with it."""
    short = (end - start).total_seconds() <= BY_MINUTE
    model: type[DeviceRollup] = DeviceMinute if short else DeviceHour
    step = 60 if short else 3600
    starts = range(-(-int(start.timestamp()) // step) * step, int(end.timestamp()), step)
    rows = model.objects.filter(start__in=list(starts), device_id__in=list(devices))
    return {key[0]: summary for key, summary in _summed(rows, ("device_id",)).items()}


def merged(parts: Iterable[Summary]) -> Summary:
    """One summary of all of them together."""
    every = list(parts)
    whole = Summary()
    for part in every:
        for name, value in part.sums.items():
            whole.sums[name] += value
        whole.energies += part.energies
    whole.bins = added(part.bins for part in every)
    return whole


def _summed(rows: QuerySet, by: Sequence[str]) -> dict[tuple[str, ...], Summary]:
    found: dict[tuple[str, ...], Summary] = {}
    sketches: dict[tuple[str, ...], list[dict[int, int]]] = {}
    for row in rows.values(*by, *_SUMS, "latency"):
        key = tuple(row[name] for name in by)
        summary = found.setdefault(key, Summary())
        for name in _SUMS:
            summary.sums[name] += row[name]
        if row["energy_count"]:
            summary.energies.append(row["energy_sum"] / row["energy_count"])
        sketches.setdefault(key, []).append(unpack(row["latency"]))
    for key, summary in found.items():
        summary.bins = added(sketches[key])
    return found
