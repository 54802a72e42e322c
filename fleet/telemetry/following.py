"""The devices' latest state and counters, as columns of their rows: one statement for a batch of samples."""

from fleet.telemetry.rollups import INCOMING

#: Columns of a device that follow its newest sample, and those that add up what its active variant did.
LATEST = (
    "cpu_percent",
    "memory_used",
    "memory_total",
    "temperature",
    "power",
    "power_source",
    "energy_per_action",
    "latency_p50",
    "latency_p95",
)
COUNTERS = ("decisions", "episodes", "successes", "cache_lookups", "cache_hits", "errors")
_DEVICES = "devices_device"


def follow(cursor) -> list[str]:
    """The devices of the batch follow it; returns which they are."""
    cursor.execute(_STATEMENT)
    return [device for (device,) in cursor.fetchall()]


def _statement() -> str:
    """newest marks one sample of a device at most, counts those that its active variant made (rollups.gather)."""
    newest = {name: f"MAX(CASE WHEN newest = 1 THEN {name} END)" for name in (*LATEST, "at")}
    newest["storage_free"] = "MAX(CASE WHEN newest = 1 THEN disk_total - disk_used END)"
    figures = [f"SUM(counts * {name}) AS {name}" for name in COUNTERS]
    figures += [f"{expression} AS {name}" for name, expression in newest.items()]
    changes = [f"{name} = {_DEVICES}.{name} + n.{name}" for name in COUNTERS]
    changes += [f"{name} = CASE WHEN n.newest = 1 THEN n.{name} ELSE {_DEVICES}.{name} END" for name in LATEST]
    changes.append(f"sample_at = CASE WHEN n.newest = 1 THEN n.at ELSE {_DEVICES}.sample_at END")
    changes.append(
        f"storage_free = CASE WHEN n.storage_free < 0 THEN 0 ELSE COALESCE(n.storage_free, {_DEVICES}.storage_free) END"
    )
    later = f"{_DEVICES}.last_seen > n.received_at"
    changes.append(f"last_seen = CASE WHEN {later} THEN {_DEVICES}.last_seen ELSE n.received_at END")
    of_each = (
        f"SELECT device_id, MAX(newest) AS newest, MAX(received_at) AS received_at, {', '.join(figures)} "  # noqa: S608  # own names
        f"FROM {INCOMING} GROUP BY device_id"
    )
    return (
        f"UPDATE {_DEVICES} SET {', '.join(changes)} FROM ({of_each}) n "  # noqa: S608  # own names
        f"WHERE {_DEVICES}.id = n.device_id RETURNING id"
    )


_STATEMENT = _statement()
