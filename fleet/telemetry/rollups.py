"""From samples to one row a minute and one an hour, of each device and of each variant in each class: in SQL.

The samples of a batch stand in a table of this connection's own (fleet.telemetry.summing). Each resolution takes them
up in one statement; only the latency sketches go through this process, because no database adds them up.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.db import connection

from agent.wire.latency import added
from fleet.telemetry import sketches
from fleet.telemetry.models import DeviceHour, DeviceMinute, FleetHour, FleetMinute, Rollup

#: The table of a batch's new samples, and that of the sketches as they will be.
INCOMING, MERGED = "summing_sample", "merged_latency"
MERGED_COLUMNS = {"rollup": "text", "start": "bigint", "owner": "text", "latency": "blob"}

#: A row's name in its table, `start` first, as in ("start", "device_id").
Key = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Resolution:
    """keys: what else names a row, by its column here and its expression in the table of the batch."""

    model: type[Rollup]
    seconds: int
    keys: Mapping[str, str]

    @property
    def table(self) -> str:
        return self.model._meta.db_table

    @property
    def start(self) -> str:
        return "minute" if self.seconds == 60 else "hour"


_DEVICE = {"device_id": "device_id"}
_FLEET = {"device_class": "device_class", "manifest": "variant"}
RESOLUTIONS = (
    Resolution(DeviceMinute, 60, _DEVICE),
    Resolution(DeviceHour, 3600, _DEVICE),
    Resolution(FleetMinute, 60, _FLEET),
    Resolution(FleetHour, 3600, _FLEET),
)

_GAUGES = ("cpu_percent", "memory_used", "temperature", "power")
_COUNTERS = ("interval", "decisions", "errors", "not_finite", "cache_lookups", "cache_hits", "episodes", "successes")
_STAGES = ("stage_queue", "stage_preprocess", "stage_compute", "stage_postprocess", "stage_network")
_HIGHEST = ("memory_total", "disk_used", "disk_total", "queued")


def _sums() -> dict[str, str]:
    """Columns that add up → what they are of a batch."""
    made = {"samples": "COUNT(*)"} | {name: f"SUM({name})" for name in _COUNTERS}
    for name in (*_GAUGES, "agent_memory"):
        made |= {f"{name}_count": f"COUNT({name})", f"{name}_sum": f"COALESCE(SUM({name}), 0)"}
    made["power_measured"] = "SUM(CASE WHEN power IS NOT NULL AND power_source = 'measured' THEN 1 ELSE 0 END)"
    made["network_count"] = "COUNT(network_rx)"
    made |= {f"{name}_sum": f"COALESCE(SUM({name}), 0)" for name in ("network_rx", "network_tx")}
    for name, figures in (("energy", {"energy": "energy_per_action"}), ("stage", {name: name for name in _STAGES})):
        there = f"{next(iter(figures.values()))} IS NOT NULL"
        made[f"{name}_count"] = f"SUM(CASE WHEN {there} THEN decisions ELSE 0 END)"
        made |= {f"{each}_sum": f"COALESCE(SUM({of} * decisions), 0)" for each, of in figures.items()}
    return made


_LEAST = {f"{name}_min": f"MIN({name})" for name in _GAUGES}
_GREATEST = {f"{name}_max": f"MAX({name})" for name in (*_GAUGES, *_HIGHEST)}
_SUMS = _sums()


#: What is looked at of a sample, by the database's type.
_TAKEN = {
    **dict.fromkeys(("device_id", "power_source"), "text"),
    **dict.fromkeys(("at", "received_at"), "timestamp with time zone"),
    **dict.fromkeys(("latency_p50", "latency_p95", "energy_per_action", "interval", *_STAGES), "double precision"),
    **dict.fromkeys(("cpu_percent", "temperature", "power", "network_rx", "network_tx"), "double precision"),
    **dict.fromkeys(("memory_used", "agent_memory", *_COUNTERS[1:], *_HIGHEST), "bigint"),
    "latency": "blob",
}
#: What is known beside: variant is the sample's manifest where the catalog has it, so that no device can make as many
#: roll-ups as it likes; counts says that the device's active variant made it, newest that the device follows it.
_BESIDE = {
    "minute": "bigint",
    "hour": "bigint",
    "device_class": "text",
    "variant": "text",
    "counts": "smallint",
    "newest": "smallint",
}
INCOMING_COLUMNS = {**_TAKEN, **_BESIDE}


def gather(cursor, after: int, last: int) -> None:
    """The samples with these numbers into the table of the batch."""
    seconds = {
        "sqlite": "CAST(strftime('%%s', s.at) AS INTEGER)",
        "postgresql": "CAST(FLOOR(EXTRACT(EPOCH FROM s.at)) AS BIGINT)",
    }[connection.vendor]
    place = "ROW_NUMBER() OVER (PARTITION BY s.device_id ORDER BY s.at DESC, s.id DESC)"
    beside = {
        "minute": f"{seconds} - {seconds} %% 60",
        "hour": f"{seconds} - {seconds} %% 3600",
        "device_class": "d.device_class",
        "variant": "COALESCE(v.manifest_digest, '')",
        "counts": "CASE WHEN s.manifest = d.active_manifest THEN 1 ELSE 0 END",
        "newest": f"CASE WHEN {place} = 1 AND (d.sample_at IS NULL OR s.at >= d.sample_at) THEN 1 ELSE 0 END",
    }
    cursor.execute(
        f"INSERT INTO {INCOMING} ({', '.join((*_TAKEN, *beside))}) "  # noqa: S608  # own names
        f"SELECT {', '.join((*(f's.{name}' for name in _TAKEN), *beside.values()))} FROM telemetry_sample s "
        "JOIN devices_device d ON d.id = s.device_id "
        "LEFT JOIN (SELECT DISTINCT manifest_digest FROM catalog_variant) v ON v.manifest_digest = s.manifest "
        "WHERE s.id > %s AND s.id <= %s",
        [after, last],
    )


def upsert(resolution: Resolution, vendor: str) -> str:
    """The statement that takes the batch up."""
    least, greatest = ("MIN", "MAX") if vendor == "sqlite" else ("LEAST", "GREATEST")
    table, keys = resolution.table, ("start", *resolution.keys)
    of = {**_SUMS, **_LEAST, **_GREATEST}
    changes = [f"{name} = {table}.{name} + excluded.{name}" for name in _SUMS]
    for which, columns in ((least, _LEAST), (greatest, _GREATEST)):
        changes += [
            f"{name} = {which}(COALESCE({table}.{name}, excluded.{name}), COALESCE(excluded.{name}, {table}.{name}))"
            for name in columns
        ]
    grouped = ", ".join((resolution.start, *resolution.keys.values()))
    figures = ", ".join(f"{expression} AS {name}" for name, expression in of.items())
    return (
        f"INSERT INTO {table} ({', '.join((*keys, *of))}, latency) "  # noqa: S608  # own names
        f"SELECT g.*, COALESCE(m.latency, {_nothing(vendor)}) FROM "
        f"(SELECT {grouped}, {figures} FROM {INCOMING} GROUP BY {grouped}) g "
        f"LEFT JOIN {MERGED} m ON m.rollup = '{table}' AND m.start = g.{resolution.start} AND "
        f"{_owner('g', resolution.keys.values())} = m.owner WHERE true "
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {', '.join(changes)}, "
        f"latency = CASE WHEN LENGTH(excluded.latency) > 0 THEN excluded.latency ELSE {table}.latency END"
    )


def stored(resolution: Resolution) -> str:
    """The sketches of the rows that the batch falls into, as they are now."""
    grouped = ", ".join((f"{resolution.start} AS start", *(f"{of} AS {k}" for k, of in resolution.keys.items())))
    keys = ("start", *resolution.keys)
    same = " AND ".join(f"r.{key} = i.{key}" for key in keys)
    return (
        f"SELECT {', '.join(f'r.{key}' for key in keys)}, r.latency "  # noqa: S608  # own names
        f"FROM (SELECT DISTINCT {grouped} FROM {INCOMING} WHERE latency IS NOT NULL) i "
        f"JOIN {resolution.table} r ON {same}"
    )


def merge(fresh: Mapping[Key, dict[int, int]], stored: Iterable[tuple]) -> dict[Key, bytes]:
    """The sketches of a resolution as they will be; fresh is what the batch adds to each row."""
    before = {row[:-1]: row[-1] for row in stored}
    made = {}
    for key, bins in fresh.items():
        known = before.get(key)
        made[key] = sketches.pack(added((sketches.unpack(known), bins)) if known else bins)
    return made


def owner(key: Key) -> str:
    """The names behind a row's start in one text, as `upsert` looks its sketch up."""
    return " ".join(map(str, key[1:]))


def _owner(alias: str, columns: Iterable[str]) -> str:
    return " || ' ' || ".join(f"{alias}.{column}" for column in columns)


def _nothing(vendor: str) -> str:
    return "x''" if vendor == "sqlite" else "''::bytea"
