"""Keeps a broker's identity table true to the database.

1. At start, every login is read, in pieces.
2. Each half second, one query for each table reads what changed since the last look. The look before it reaches back
   some seconds: rows become visible when their transaction ends, not when they were stamped.
3. Every few minutes everything is read again: this finds rows that were deleted, and stamps of a clock that was wrong.
4. A login that fails is looked up once in the database, at a bounded rate: a device that enrolled a moment ago gets in.

All queries run in one thread with one connection of its own. When the database is away, the table stays as it is.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from django.db import DatabaseError, InterfaceError, close_old_connections, connections
from django.db.models import QuerySet

from agent.wire.access import ENROLL_LOGINS, enroll_login
from agent.wire.states import Admission
from fleet.brokers.identities import ENROLL, Credential, name_ok, token_of
from fleet.brokers.rates import TokenBucket
from fleet.devices.models import Device, EnrollmentToken

logger = logging.getLogger(__name__)

T = TypeVar("T")
#: Logs these names out.
End = Callable[[Collection[str]], Awaitable[None]]


class Table(Protocol):
    """Where logins go: a broker's own table, or what a broker is told. Both give the names whose login is over."""

    def update(self, credentials: Mapping[str, Credential]) -> list[str]: ...

    def replace(self, credentials: Mapping[str, Credential]) -> list[str]: ...

    def __len__(self) -> int: ...


class DatabaseAwayError(Exception):
    """A query could not be answered; the text says why."""

    @property
    def at_start(self) -> str:
        """The sentence for the person who starts a broker."""
        return (
            f"The identities of devices could not be read ({self}). "
            f"Is the database there, and are its migrations applied (manage.py migrate)?"
        )


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the database is asked. Times in seconds."""

    poll: float = 0.5
    #: How far a look reaches back: longer than any transaction that changes a login, or two clocks, may be apart.
    overlap: float = 10.0
    sweep: float = 300.0
    #: Failed logins that are looked up: at once, in the long run, and while a database that hangs answers none.
    lookups: int = 50
    lookups_per_second: float = 20.0
    lookups_waiting: int = 20


class Follower:
    """Fills `table`. All methods belong to one event loop."""

    def __init__(self, table: Table, pace: Pace | None = None) -> None:
        self.table = table
        self._pace = pace or Pace()
        self._database = DatabaseThread()
        self._lookups = TokenBucket(self._pace.lookups, self._pace.lookups_per_second, time.monotonic())
        self._seen = datetime.min.replace(tzinfo=UTC)
        self._away = False
        #: Told the names whose login is over; the broker puts its own here.
        self.end: End = _nobody

    async def load(self) -> None:
        """Read everything. Raises DatabaseAwayError."""
        self._seen = datetime.now(UTC)
        self.table.replace(await self._ask(read_all))

    async def follow(self) -> None:
        """Follow changes until cancelled."""
        loop = asyncio.get_running_loop()
        swept = loop.time()
        while True:
            await asyncio.sleep(self._pace.poll)
            sweep = loop.time() - swept >= self._pace.sweep
            try:
                ended = await (self._sweep() if sweep else self._poll())
            except DatabaseAwayError as problem:
                if not self._away:
                    logger.warning(
                        "The database is away (%s); logins go on with the %d identities that are known",
                        problem,
                        len(self.table),
                    )
                self._away = True
                continue
            if self._away:
                logger.warning("The database is back")
                self._away = False
            if sweep:
                swept = loop.time()
            if ended:
                await self.end(ended)

    async def look_up(self, name: str) -> bool:
        """Ask for one login. False when there is none, too much was asked already, or the database is away."""
        if not name_ok(name, "enroll" if name.startswith(ENROLL) else "device"):
            return False
        if self._database.waiting >= self._pace.lookups_waiting or not self._lookups.take(time.monotonic()):
            return False
        try:
            found = await self._ask(lambda: read_one(name))
        except DatabaseAwayError:
            return False
        ended = self.table.update(found)
        if ended:
            await self.end(ended)
        return bool(found)

    def close(self) -> None:
        """Close the connection, once a query that is under way has ended; but wait for that a second at most."""
        self._database.close(1.0)

    async def _poll(self) -> list[str]:
        since = self._seen - timedelta(seconds=self._pace.overlap)
        seen = datetime.now(UTC)
        changed = await self._ask(lambda: read_changed(since))
        self._seen = seen
        return self.table.update(changed)

    async def _sweep(self) -> list[str]:
        seen = datetime.now(UTC)
        everything = await self._ask(read_all)
        self._seen = seen
        return self.table.replace(everything)

    async def _ask(self, query: Callable[[], T]) -> T:
        try:
            return await self._database.run(query)
        except (DatabaseError, InterfaceError) as problem:
            raise DatabaseAwayError(" ".join(str(problem).split()) or type(problem).__name__) from problem


class DatabaseThread:
    """Runs queries one after the other, off the event loop, with one connection.

    Its thread is a daemon, which those of an executor are not: a query that hangs must not keep the process alive.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="identities", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Queries that have not begun."""
        return self._work.qsize()

    async def run(self, query: Callable[[], T]) -> T:
        """What the query returns or raises."""
        answer: Future[T] = Future()
        self._work.put((answer, query))
        return await asyncio.wrap_future(answer)

    def close(self, timeout: float) -> None:
        self._work.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            answer, query = work
            if not answer.set_running_or_notify_cancel():
                continue
            close_old_connections()  # the last query may have found the connection broken
            try:
                answer.set_result(query())
            except BaseException as problem:
                answer.set_exception(problem)
        connections.close_all()


async def _nobody(names: Collection[str]) -> None:
    """Nobody is connected yet."""


def read_all() -> dict[str, Credential]:
    """Every login of devices and tokens, by its name."""
    return _devices(Device.objects.all()) | _tokens(EnrollmentToken.objects.all())


def read_changed(since: datetime) -> dict[str, Credential]:
    """The logins that changed since then. Two queries."""
    return _devices(Device.objects.filter(credential_changed_at__gte=since)) | _tokens(
        EnrollmentToken.objects.filter(credential_changed_at__gte=since)
    )


def read_one(name: str) -> dict[str, Credential]:
    """The login of that name; empty when there is none. One query."""
    if name.startswith(ENROLL):
        return _tokens(EnrollmentToken.objects.filter(pk=token_of(name)))
    return _devices(Device.objects.filter(pk=name))


def _devices(rows: QuerySet[Device]) -> dict[str, Credential]:
    columns = rows.order_by().values_list("pk", "salt", "digest", "admission", "retired_at")
    return {
        name: Credential("device", admission == Admission.ACCEPTED and retired_at is None, bytes(salt), bytes(digest))
        for name, salt, digest, admission, retired_at in columns.iterator(chunk_size=2000)
    }


def _tokens(rows: QuerySet[EnrollmentToken]) -> dict[str, Credential]:
    """One that expired or is used up still logs in, so that it can be told why it is refused."""
    columns = rows.order_by().values_list("pk", "salt", "digest", "revoked_at")
    return {
        enroll_login(name, number): Credential("enroll", revoked_at is None, bytes(salt), bytes(digest))
        for name, salt, digest, revoked_at in columns.iterator(chunk_size=2000)
        for number in range(ENROLL_LOGINS)
    }
