"""Takes samples up into roll-ups and into the devices' latest state: behind the store, in transactions of their own.

1. A row says up to which number samples have been taken up (Summed). It is locked, and moves with what it speaks of:
   whatever is killed, each sample counts once.
2. The next samples, in the order in which they were stored, go into a table of this connection's own.
3. One statement for each resolution adds them to its rows; one makes the devices follow.
4. Then it rests for several times as long as that took, unless there is more than one batch to do. So under load more
   samples share a row's change.
"""

import logging
import threading
import time
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, close_old_connections, connection, transaction

from agent.wire.latency import added
from fleet.audit.services import announce
from fleet.telemetry import following, rollups
from fleet.telemetry.models import Summed
from fleet.telemetry.rollups import INCOMING, MERGED, RESOLUTIONS
from fleet.telemetry.sketches import unpack
from fleet.telemetry.store import TABLE, load

log = logging.getLogger(__name__)

#: Samples of one transaction.
MOST = 100_000
#: Seconds between two looks, at least and at most, and times of what the last one took.
REST, LONGEST, SHARE = 0.2, 4.0, 4.0
#: Memory in which PostgreSQL may group a batch.
_WORK = "64MB"


def take_up(most: int = MOST) -> int:
    """Take up the next samples; returns how many there were. Without any, two queries."""
    with transaction.atomic(), connection.cursor() as cursor:
        known, _ = Summed.objects.select_for_update().get_or_create(pk=1)
        cursor.execute(
            f"SELECT COUNT(*), MAX(id) FROM (SELECT id FROM {TABLE} WHERE id > %s ORDER BY id LIMIT %s) AS next",  # noqa: S608  # own names
            [known.sample, most],
        )
        count, last = cursor.fetchone()
        if not count:
            return 0
        _make_tables(cursor)
        rollups.gather(cursor, known.sample, last)
        _roll_up(cursor)
        devices = following.follow(cursor)
        known.sample = last
        known.save()
        announce("devices", *(f"device:{device}" for device in devices))
    return count


def take_up_all() -> None:
    while take_up():
        pass


class Summing:
    """Runs until stopped, beside the gateway's inbox. A database that is away is asked again.

    told hears how many samples were taken up.
    """

    def __init__(self, told: Callable[[int], None]) -> None:
        self._told = told
        self._stop = threading.Event()

    def run(self) -> None:
        while not self._stop.is_set():
            began, count = time.monotonic(), 0
            try:
                close_old_connections()
                count = take_up()
                self._told(count)
            except (DatabaseError, InterfaceError) as problem:
                log.error("samples could not be summed up: %s", str(problem).strip())
                self._stop.wait(1)
            if count < MOST:  # else it is behind
                self._stop.wait(min(max(REST, SHARE * (time.monotonic() - began)), LONGEST))

    def stop(self) -> None:
        self._stop.set()


def _make_tables(cursor) -> None:
    """Two tables of this connection's own; one batch of a longer transaction is no part of the next."""
    postgresql = connection.vendor == "postgresql"
    ending = "ON COMMIT DELETE ROWS" if postgresql else ""
    if postgresql:
        cursor.execute(f"SET LOCAL work_mem = '{_WORK}'")
    for table, columns in (
        (INCOMING, rollups.INCOMING_COLUMNS),
        (MERGED, {**rollups.MERGED_COLUMNS, "PRIMARY KEY": "(rollup, owner, start)"}),
    ):
        written = ", ".join(
            f"{name} {'bytea' if kind == 'blob' and postgresql else kind}" for name, kind in columns.items()
        )
        cursor.execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS {table} ({written}) {ending}")
        cursor.execute(f"DELETE FROM {table}")  # noqa: S608  # own names


def _roll_up(cursor) -> None:
    """Into every resolution. Sketches are read, merged here, and written with the rest."""
    fresh = _sketches(cursor)
    merged = []
    for resolution in RESOLUTIONS:
        adding = fresh[resolution.table]
        if adding:
            cursor.execute(rollups.stored(resolution))
            made = rollups.merge(adding, cursor.fetchall())
            merged += [(resolution.table, key[0], rollups.owner(key), data) for key, data in made.items()]
    if merged:
        load(cursor, MERGED, tuple(rollups.MERGED_COLUMNS), merged)
    for resolution in RESOLUTIONS:
        cursor.execute(rollups.upsert(resolution, connection.vendor))


def _sketches(cursor) -> dict[str, dict[rollups.Key, dict[int, int]]]:
    """What the batch adds to the sketches of each resolution's rows: each sample is added once, then their sums are."""
    cursor.execute(
        f"SELECT minute, device_id, device_class, variant, latency FROM {INCOMING} WHERE latency IS NOT NULL"  # noqa: S608  # own names
    )
    told: dict[tuple, list[bytes]] = {}
    for *key, data in cursor:
        told.setdefault(tuple(key), []).append(data)
    sums = {key: added(map(unpack, sketches)) for key, sketches in told.items()}
    made = {}
    for resolution in RESOLUTIONS:
        names = slice(1, 2) if "device_id" in resolution.keys else slice(2, 4)
        grouped: dict[rollups.Key, list] = {}
        for key, bins in sums.items():
            grouped.setdefault((key[0] - key[0] % resolution.seconds, *key[names]), []).append(bins)
        made[resolution.table] = {key: bins[0] if len(bins) == 1 else added(bins) for key, bins in grouped.items()}
    return made
