"""Writes samples: those that are new, each once, whichever database it is."""

from collections.abc import Iterable, Mapping

from django.db import connection
from django.db.models import Q

from fleet.telemetry.models import Sample

#: device, boot, number: what makes a sample the same one.
Key = tuple[str, str, int]

_COLUMNS = [field.column for field in Sample._meta.concrete_fields if not field.primary_key]
_FIELDS = [field.attname for field in Sample._meta.concrete_fields if not field.primary_key]


def add(rows: Mapping[Key, Sample]) -> list[Sample]:
    """Store those that are not there yet, in the caller's transaction; returns them, the oldest first."""
    if not rows:
        return []
    new = _copy(rows) if connection.vendor == "postgresql" else _insert(rows)
    return sorted((rows[key] for key in new), key=lambda row: row.at)


def _copy(rows: Mapping[Key, Sample]) -> Iterable[Key]:
    """COPY into a table of this connection's own, and from there what is new: two statements, whatever the number.

    ON CONFLICT also waits for another gateway that stores the same sample at this moment.
    """
    table, columns = Sample._meta.db_table, ", ".join(_COLUMNS)
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS incoming_sample ON COMMIT DELETE ROWS AS "  # noqa: S608  # own names
            f"SELECT {columns} FROM {table} WITH NO DATA"
        )
        with cursor.copy(f"COPY incoming_sample ({columns}) FROM STDIN") as copy:
            for row in rows.values():
                copy.write_row([getattr(row, name) for name in _FIELDS])
        cursor.execute(
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM incoming_sample "  # noqa: S608  # own names
            f"ON CONFLICT (device_id, boot_id, seq) DO NOTHING RETURNING device_id, boot_id, seq"
        )
        new = cursor.fetchall()
        cursor.execute("TRUNCATE incoming_sample")  # one batch of a longer transaction is no part of the next
    return new


def _insert(rows: Mapping[Key, Sample]) -> Iterable[Key]:
    stored = _stored(rows)
    new = [key for key in rows if key not in stored]
    Sample.objects.bulk_create([rows[key] for key in new], batch_size=200, ignore_conflicts=True)
    return new


def _stored(rows: Mapping[Key, Sample]) -> set[Key]:
    """Which of these samples are there already: one query for a hundred boots."""
    by_boot: dict[tuple[str, str], list[int]] = {}
    for device_id, boot_id, seq in rows:
        by_boot.setdefault((device_id, boot_id), []).append(seq)
    found: set[Key] = set()
    pairs = list(by_boot.items())
    for start in range(0, len(pairs), 100):
        condition = Q()
        for (device_id, boot_id), numbers in pairs[start : start + 100]:
            condition |= Q(device_id=device_id, boot_id=boot_id, seq__gte=min(numbers), seq__lte=max(numbers))
        found.update(
            key for key in Sample.objects.filter(condition).values_list("device_id", "boot_id", "seq") if key in rows
        )
    return found
