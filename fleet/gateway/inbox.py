"""What comes up: batched for 200 ms at most, stored in one transaction, acknowledged after the commit.

A batch begins to be stored at 500 messages. While one is stored the next ones gather, so that under load a batch is as
large as the broker's window lets it be, and costs less for each message.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import paho.mqtt.client as paho
from django.db import InterfaceError, OperationalError, close_old_connections

from agent.wire import codec
from agent.wire.topics import GATEWAY_FILTERS
from fleet.gateway import mqtt
from fleet.gateway.health import Health
from fleet.gateway.mqtt import Arrived

log = logging.getLogger(__name__)

#: Messages that need not wait for more; the most of one batch, and their bytes: a message may hold 500 samples.
BATCH = 500
MOST = 4000
MOST_BYTES = 4 * 1024 * 1024
BATCH_SECONDS = 0.2
#: Silence after which a batch is stored as it is: the broker may wait for our acknowledgements before it sends more.
QUIET_SECONDS = 0.03
#: Messages, and their bytes, between the socket and the database. Beyond it the socket is not read: the broker keeps
#: the rest.
HELD = 8000
HELD_BYTES = 64 * 1024 * 1024


class Inbound(NamedTuple):
    """One message as it came. retained: the broker kept it for us, it was sent at some earlier time.

    size is what the payload had; beyond the limit of a body only its beginning is kept.
    """

    topic: str
    payload: bytes
    retained: bool = False
    size: int = 0


class _Held(NamedTuple):
    """With what its acknowledgement needs, and when it came (monotonic seconds)."""

    message: Inbound
    number: int
    connection: int
    at: float


class Inbox:
    """Runs until stopped; `handle` stores a batch and must be idempotent: what was not acknowledged comes again."""

    def __init__(
        self, handle: Callable[[list[Inbound]], None], name: str = "inbox", health: Health | None = None
    ) -> None:
        self._handle = handle
        self._health = health or Health()
        self._held: list[_Held] = []
        self._bytes = 0
        self._more = threading.Condition()
        self._stop = threading.Event()
        #: Counts connections: an acknowledgement must not go to a later one than its message came by.
        self._connection = 0
        self.client = mqtt.Reader.of(name, on_ready=self._subscribe)
        self.client.take = self._take

    def _subscribe(self, client: paho.Client) -> None:
        self._connection += 1
        client.subscribe([(each, 1) for each in GATEWAY_FILTERS])

    def _take(self, arrived: list[Arrived]) -> None:
        connection, now = self._connection, time.monotonic()
        held = [_Held(_inbound(each), each.number, connection, now) for each in arrived]
        with self._more:
            while (len(self._held) >= HELD or self._bytes >= HELD_BYTES) and not self._stop.is_set():
                self._more.wait(0.5)
            before = len(self._held)
            self._held += held
            self._bytes += sum(len(each.message.payload) for each in held)
            if before == 0 or before < BATCH <= len(self._held):
                self._more.notify_all()

    def run(self) -> None:
        mqtt.start(self.client)
        try:
            while not self._stop.is_set():
                batch = self._next()
                if batch:
                    self._store([each.message for each in batch])
                    if not self._stop.is_set():
                        self.client.acknowledge(each.number for each in batch if each.connection == self._connection)
        finally:
            self.client.disconnect()
            self.client.loop_stop()

    def stop(self) -> None:
        self._stop.set()
        with self._more:
            self._more.notify_all()

    def _next(self) -> list[_Held]:
        with self._more:
            if not self._held:
                self._more.wait(1.0)
            if not self._held:
                return []
            end = self._held[0].at + BATCH_SECONDS
            while (count := len(self._held)) < BATCH and not self._stop.is_set():
                self._more.wait(max(0.0, min(QUIET_SECONDS, end - time.monotonic())))
                if len(self._held) == count or time.monotonic() >= end:
                    break
            batch = self._cut()
            self._health.held = len(self._held)
            self._more.notify_all()
        self._health.began(len(batch), batch[0].at)
        return batch

    def _cut(self) -> list[_Held]:
        """Take the next batch off what is held: at least one message, whatever its size."""
        size = count = 0
        for each in self._held[:MOST]:
            size += len(each.message.payload)
            if count and size > MOST_BYTES:
                size -= len(each.message.payload)
                break
            count += 1
        batch, self._held = self._held[:count], self._held[count:]
        self._bytes -= size
        return batch

    def _store(self, batch: list[Inbound]) -> None:
        """Try until the database is there: nothing is acknowledged meanwhile, so nothing is lost."""
        delay = 0.5
        log.debug("storing %d messages", len(batch))
        while not self._stop.is_set():
            try:
                close_old_connections()
                self._handle(batch)
                self._health.stored()
                return
            except (OperationalError, InterfaceError) as problem:
                log.error("the database is away (%s); trying again in %.0f s", str(problem).strip(), delay)
                self._stop.wait(delay)
                delay = min(delay * 2, 15)


def _inbound(arrived: Arrived) -> Inbound:
    topic, payload, retained, _ = arrived
    size = len(payload)
    if size > codec.MAX_BODY:
        payload = payload[:120]
    return Inbound(topic.decode(errors="replace"), payload, retained, size)
