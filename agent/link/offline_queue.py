"""Telemetry that waits for the link: a bounded queue on disk. The oldest is dropped beyond the bound, and counted."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.wire.messages import Sample, Telemetry

log = logging.getLogger(__name__)

#: A day and some hours at one sample in five seconds; about 8 MB on disk.
LIMIT = 20_000
#: Samples of one message: some 100 kB, and never more than a body may have.
BATCH = 150

_TABLES = """
CREATE TABLE IF NOT EXISTS samples (id INTEGER PRIMARY KEY AUTOINCREMENT, boot_id TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS dropped (boot_id TEXT PRIMARY KEY, count INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """The oldest samples of one boot; remove them with `last` once the broker has acknowledged `telemetry`."""

    last: int
    telemetry: Telemetry


class OfflineQueue:
    """Used by one thread. A damaged file is put aside and a new queue begun: telemetry is not worth a dead agent."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self._path = path
        self._limit = limit
        try:
            self._database = self._open()
        except sqlite3.DatabaseError as problem:
            aside = path.with_suffix(".damaged")
            log.error("the telemetry queue %s is damaged (%s); it is now %s", path, problem, aside.name)
            path.replace(aside)
            path.with_name(path.name + "-journal").unlink(missing_ok=True)
            self._database = self._open()
        self._count = self._counted()
        #: Everything up to this id was sent.
        self._gone = 0

    def _counted(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM samples").fetchone()[0])

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        # Not WAL: on a disk that ran full it cannot shrink any more, and the queue would stay full for good.
        database.execute("PRAGMA journal_mode=TRUNCATE")
        database.execute("PRAGMA cache_size=-256")  # KiB; else a long outage leaves 2 MB of pages in memory for good
        database.executescript(_TABLES)
        database.execute("DELETE FROM dropped WHERE boot_id NOT IN (SELECT boot_id FROM samples)")
        return database

    def __len__(self) -> int:
        return self._count

    def put(self, boot_id: str, sample: Sample) -> None:
        """Append; a full disk drops the sample and counts it, as a full queue drops the oldest."""
        try:
            with self._transaction():
                self._database.execute(
                    "INSERT INTO samples (boot_id, body) VALUES (?, ?)", (boot_id, msgspec.json.encode(sample))
                )
                self._count += 1
                if self._count > self._limit:
                    self._drop_oldest(self._count - self._limit)
        except sqlite3.OperationalError as problem:
            log.warning("a sample is lost, the queue cannot be written: %s", problem)
            self._count = self._counted()
            self._forget(boot_id)

    def peek(self) -> Batch | None:
        """The next samples to send, oldest first; they stay until removed. None when there are none."""
        rows = self._database.execute(
            "SELECT id, boot_id, body FROM samples WHERE id > ?1 AND boot_id = "
            "(SELECT boot_id FROM samples WHERE id > ?1 ORDER BY id LIMIT 1) ORDER BY id LIMIT ?2",
            (self._gone, BATCH),
        ).fetchall()
        samples = []
        for number, boot_id, body in rows:
            try:
                samples.append(msgspec.json.decode(body, type=Sample))
            except msgspec.DecodeError as problem:  # written by another version of the agent
                log.warning("a queued sample cannot be read and is dropped: %s", problem)
                self._delete(number, boot_id)
        if not samples:
            return None
        boot_id = rows[0][1]
        counted = self._database.execute("SELECT count FROM dropped WHERE boot_id = ?", (boot_id,)).fetchone()
        telemetry = Telemetry(boot_id=boot_id, samples=tuple(samples), dropped=counted[0] if counted else 0)
        return Batch(rows[-1][0], telemetry)

    def remove(self, batch: Batch) -> None:
        """The broker has it. On a full disk even that cannot be written: it is only remembered, until there is room."""
        self._gone = batch.last
        try:
            with self._transaction():
                self._count -= self._database.execute("DELETE FROM samples WHERE id <= ?", (self._gone,)).rowcount
        except sqlite3.OperationalError as problem:
            log.warning("samples that were sent cannot be removed yet: %s", problem)

    def close(self) -> None:
        self._database.close()

    def _drop_oldest(self, count: int) -> None:
        lost = self._database.execute("SELECT id, boot_id FROM samples ORDER BY id LIMIT ?", (count,)).fetchall()
        for number, boot_id in lost:
            self._delete(number, boot_id)

    def _delete(self, number: int, boot_id: str) -> None:
        self._database.execute("DELETE FROM samples WHERE id = ?", (number,))
        self._count -= 1
        self._count_dropped(boot_id)

    def _forget(self, boot_id: str) -> None:
        try:
            with self._transaction():
                self._count_dropped(boot_id)
        except sqlite3.OperationalError:
            log.debug("the count of lost samples cannot be written either")

    def _count_dropped(self, boot_id: str) -> None:
        self._database.execute(
            "INSERT INTO dropped VALUES (?, 1) ON CONFLICT (boot_id) DO UPDATE SET count = count + 1", (boot_id,)
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise
