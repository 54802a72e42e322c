"""Writes a batch of samples: those that are new, each once.

On PostgreSQL by COPY into the table itself; only a batch with repeated samples, rare as they are, costs twice as much.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from operator import attrgetter

from django.db import IntegrityError, connection, transaction

from agent.wire.messages import Over, Stages
from agent.wire.messages import Sample as WireSample
from fleet.telemetry import sketches
from fleet.telemetry.models import Sample

TABLE = Sample._meta.db_table
#: Held by whoever stores a batch, on PostgreSQL: a sample that is there has all with lesser numbers before it, which
#: fleet.telemetry.summing counts on.
_LOCK = 0x5A3B11
_FROM_WIRE = [
    name
    for name in (field.column for field in Sample._meta.concrete_fields)
    if name in WireSample.__struct_fields__ and name not in ("at", "seq", "latency")
]
_STAGES = tuple(f"stage_{name}" for name in Stages.__struct_fields__)
_OVER = tuple(f"over_{name}" for name in Over.__struct_fields__)
COLUMNS = ("device_id", "boot_id", "seq", "at", "received_at", "latency", *_FROM_WIRE, *_STAGES, *_OVER)
_get = attrgetter(*_FROM_WIRE)
_get_stages = attrgetter(*Stages.__struct_fields__)
_get_over = attrgetter(*Over.__struct_fields__)
_NO_STAGES = (None,) * len(_STAGES)
_NONE_OVER = (0,) * len(_OVER)


def add(measured: Sequence[tuple[str, str, WireSample]], now: datetime) -> int:
    """Store samples (device, boot, sample) in the caller's transaction; returns how many of them were new."""
    if not measured:
        return 0
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            try:
                with transaction.atomic():
                    load(cursor, TABLE, COLUMNS, _rows(measured, now))
            except IntegrityError:
                _load_new(cursor, _rows(measured, now))
        else:
            load(cursor, TABLE, COLUMNS, _rows(measured, now), "ON CONFLICT DO NOTHING")
        return cursor.rowcount


def _load_new(cursor, rows: Iterable[tuple]) -> None:
    """On PostgreSQL, where some rows are there already, which COPY refuses: by a table of this connection's own."""
    names = ", ".join(COLUMNS)
    cursor.execute(
        "CREATE TEMPORARY TABLE IF NOT EXISTS incoming_sample ON COMMIT DELETE ROWS AS "  # noqa: S608  # own names
        f"SELECT {names} FROM {TABLE} WITH NO DATA"
    )
    cursor.execute("DELETE FROM incoming_sample")  # of an earlier batch of this transaction
    load(cursor, "incoming_sample", COLUMNS, rows)
    cursor.execute(
        f"INSERT INTO {TABLE} ({names}) SELECT {names} FROM incoming_sample ON CONFLICT DO NOTHING"  # noqa: S608  # own names
    )


def load(cursor, table: str, columns: Sequence[str], rows: Iterable[tuple], otherwise: str = "") -> None:
    """Rows into a table; otherwise: what SQLite does with those that are there."""
    names = ", ".join(columns)
    if connection.vendor == "postgresql":
        with connection.wrap_database_errors, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    else:
        places = ", ".join(["%s"] * len(columns))
        cursor.executemany(f"INSERT INTO {table} ({names}) VALUES ({places}) {otherwise}", list(rows))  # noqa: S608  # own names


def _rows(measured: Iterable[tuple[str, str, WireSample]], now: datetime) -> Iterator[tuple]:
    """As COLUMNS has it; times in the database's own words, which costs less than to adapt each."""
    end = None if connection.vendor == "postgresql" else -len("+00:00")
    received = str(now.astimezone(UTC))[:end]
    for device_id, boot_id, sample in measured:
        yield (
            device_id,
            boot_id,
            sample.seq,
            str(datetime.fromtimestamp(sample.at, UTC))[:end],
            received,
            sketches.pack(sample.latency) or None,
            *_get(sample),
            *(_get_stages(sample.stages) if sample.stages else _NO_STAGES),
            *(_get_over(sample.over) if sample.over else _NONE_OVER),
        )
