"""Samples at their interval, into the queue on disk, and from there to the broker while there is a link."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from agent.link.connection import Connection, Delivery
from agent.link.offline_queue import Batch, OfflineQueue
from agent.wire import codec, topics
from agent.wire.messages import Sample

log = logging.getLogger(__name__)


class Sampler(Protocol):
    """Where samples come from."""

    def sample(self, queued: int) -> Sample:
        """One look at the device; `queued` samples wait to be sent."""
        ...


class TelemetryThread(threading.Thread):
    """Takes a sample every `interval` seconds, and sends what is queued in order, one message at a time.

    A batch leaves the queue when the broker has acknowledged it. One that was under way when the power went is sent
    again; boot id and sequence number make that harmless.
    """

    def __init__(
        self,
        *,
        device_id: str,
        boot_id: str,
        sampler: Sampler,
        queue: OfflineQueue,
        connection: Connection,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="telemetry", daemon=True)
        self._topic = topics.up(device_id, "telemetry")
        self._boot_id = boot_id
        self._sampler = sampler
        self._queue = queue
        self._connection = connection
        self._clock = clock
        self._interval = interval
        self._stop_event = threading.Event()
        self._under_way: tuple[Batch, Delivery] | None = None

    def set_interval(self, seconds: float) -> None:
        self._interval = seconds

    def stop(self, seconds: float = 0.6) -> None:
        """What is queued stays on the disk."""
        self._stop_event.set()
        self.join(seconds)

    def run(self) -> None:
        last = self._clock()
        while not self._stop_event.is_set():
            remaining = last + self._interval - self._clock()
            if remaining <= 0:
                last = self._clock()
                self._take()
            elif not self._send(min(remaining, 0.5)):
                self._stop_event.wait(min(remaining, 0.5))
        self._queue.close()

    def _take(self) -> None:
        try:
            self._queue.put(self._boot_id, self._sampler.sample(len(self._queue)))
        except Exception:
            log.exception("no sample could be taken")

    def _send(self, seconds: float) -> bool:
        """Bring the oldest batch forward; False when there is nothing to do now. Takes at most `seconds`."""
        if self._under_way is None:
            batch = self._queue.peek() if len(self._queue) and self._connection.connected else None
            if batch is None:
                return False
            delivery = self._connection.publish(self._topic, codec.encode(batch.telemetry))
            if delivery is None:
                return False
            self._under_way = batch, delivery
        batch, delivery = self._under_way
        if delivery.wait(seconds):
            self._queue.remove(batch)
            self._under_way = None
        elif delivery.lost:
            self._under_way = None
        return True
