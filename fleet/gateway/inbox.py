"""What comes up: batched for half a second at most, stored in one transaction, acknowledged after the commit."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import paho.mqtt.client as paho
from django.db import InterfaceError, OperationalError, close_old_connections

from agent.wire.topics import GATEWAY_FILTERS
from fleet.gateway import mqtt

log = logging.getLogger(__name__)

BATCH = 500
BATCH_SECONDS = 0.2
#: Messages held between the socket and the database. When it is full the socket is not read: the broker keeps the rest.
HELD = 5000


@dataclass(frozen=True, slots=True)
class Inbound:
    """One message as it came. retained: the broker kept it for us, it was sent at some earlier time."""

    topic: str
    payload: bytes
    retained: bool = False


class Inbox:
    """Runs until stopped; `handle` stores a batch and must be idempotent: what was not acknowledged comes again."""

    def __init__(self, handle: Callable[[list[Inbound]], None], name: str = "inbox") -> None:
        self._handle = handle
        self._held: queue.Queue[tuple[paho.MQTTMessage, int]] = queue.Queue(HELD)
        self._stop = threading.Event()
        #: Counts connections: an acknowledgement must not go to a later one than its message came by.
        self._connection = 0
        self.client = mqtt.client(name, manual_ack=True, on_ready=self._subscribe)
        self.client.on_message = self._take

    def _subscribe(self, client: paho.Client) -> None:
        self._connection += 1
        client.subscribe([(each, 1) for each in GATEWAY_FILTERS])

    def _take(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        while not self._stop.is_set():
            try:
                self._held.put((message, self._connection), timeout=0.5)
                return
            except queue.Full:
                continue

    def run(self) -> None:
        mqtt.start(self.client)
        try:
            while not self._stop.is_set():
                batch = self._next()
                if batch:
                    self._store([Inbound(m.topic, m.payload, bool(m.retain)) for m, _ in batch])
                    for message, connection in batch:
                        if connection == self._connection and not self._stop.is_set():
                            self.client.ack(message.mid, message.qos)
        finally:
            self.client.disconnect()
            self.client.loop_stop()

    def stop(self) -> None:
        self._stop.set()

    def _next(self) -> list[tuple[paho.MQTTMessage, int]]:
        batch: list[tuple[paho.MQTTMessage, int]] = []
        end = time.monotonic() + 1.0
        while len(batch) < BATCH:
            try:
                batch.append(self._held.get(timeout=max(0.0, end - time.monotonic())))
            except queue.Empty:
                break
            if len(batch) == 1:
                end = time.monotonic() + BATCH_SECONDS
        return batch

    def _store(self, batch: list[Inbound]) -> None:
        """Try until the database is there: nothing is acknowledged meanwhile, so nothing is lost."""
        delay = 0.5
        while not self._stop.is_set():
            try:
                close_old_connections()
                self._handle(batch)
                return
            except (OperationalError, InterfaceError) as problem:
                log.error("the database is away (%s); trying again in %.0f s", str(problem).strip(), delay)
                self._stop.wait(delay)
                delay = min(delay * 2, 15)
