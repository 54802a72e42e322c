"""Samples at their interval, into the queue, and from there to the broker while there is a link."""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from agent.link.connection import Connection, Delivery
from agent.link.history import History
from agent.link.offline_queue import BATCH, Batch
from agent.pulse import Pulse
from agent.wire import codec, topics
from agent.wire.messages import Sample

log = logging.getLogger(__name__)

#: Seconds between two messages while more waits than one can hold, on average: a fleet that comes back after a day
#: sends a day's samples over minutes, each device at its own moments.
PACE_SECONDS = 2.0
#: Looks, puts and sends that take longer have come to a standstill.
STANDSTILL_SECONDS = 120.0


class Sampler(Protocol):
    """Where samples come from."""

    def sample(self, queued: int) -> Sample:
        """One look at the device; `queued` samples wait to be sent."""
        ...


class Telemetry:
    """Takes a sample every `interval` seconds, and sends what is queued in order, one message at a time.

    A batch leaves the queue when the broker has acknowledged it. One that was under way when the power went is sent
    again; boot id and sequence number make that harmless. After a full batch the next one waits its turn.

    Whoever calls `step` may wait between two of them, until `on_wake` says that there is something to do.
    """

    def __init__(
        self,
        *,
        device_id: str,
        boot_id: str,
        sampler: Sampler,
        queue: History,
        connection: Connection,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topics.up(device_id, "telemetry")
        self._boot_id = boot_id
        self._sampler = sampler
        self._queue = queue
        self._connection = connection
        self._clock = clock
        self._interval = interval
        self._under_way: tuple[Batch, Delivery] | None = None
        self._not_before = self._last = clock()
        self.on_wake: Callable[[], None] = lambda: None

    def set_interval(self, seconds: float) -> None:
        if seconds != self._interval:
            self._interval = seconds
            self.on_wake()

    def wake(self) -> None:
        """There is a link: send what waits."""
        self.on_wake()

    def step(self, patience: float) -> float:
        """Do what is due, waiting at most `patience` seconds for the broker; seconds until there is something to do."""
        now = self._clock()
        remaining = self._last + self._interval - now
        if remaining <= 0:
            self._last = max(self._last + self._interval, now - self._interval)  # a late one delays none that follow
            self._take()
            return 0.0
        if now < self._not_before:
            return min(remaining, self._not_before - now)
        return 0.0 if self._send(min(remaining, patience)) else remaining

    def close(self) -> None:
        """What is queued stays on the disk."""
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
        linked = self._connection.connected  # without a link there is nothing to wait for before `wake`
        if delivery.wait(seconds if linked else 0.0):
            self._queue.remove(batch)
            self._under_way = None
            if len(batch.telemetry.samples) == BATCH:
                self._not_before = self._clock() + PACE_SECONDS * (0.5 + random.random())  # noqa: S311 -- no secret
            return True
        if delivery.lost:
            self._under_way = None
            return True
        return linked


class TelemetryThread(threading.Thread):
    """Steps a device's telemetry, and sleeps in between. wait waits for an event at most so many of its seconds."""

    def __init__(
        self, telemetry: Telemetry, wait: Callable[[threading.Event, float], bool] = threading.Event.wait
    ) -> None:
        super().__init__(name="telemetry", daemon=True)
        self._telemetry = telemetry
        self._wait = wait
        self._stopping = False
        self._wake = threading.Event()
        telemetry.on_wake = self._wake.set
        self.pulse = Pulse("telemetry", STANDSTILL_SECONDS, self)

    def stop(self, seconds: float = 0.6) -> None:
        self._stopping = True
        self._wake.set()
        self.join(seconds)

    def run(self) -> None:
        while not self._stopping:
            self.pulse.beat()
            seconds = self._telemetry.step(0.5)
            if seconds > 0:
                self._rest(seconds)
        self._telemetry.close()

    def _rest(self, seconds: float) -> None:
        self.pulse.rest()
        if self._wait(self._wake, seconds):
            self._wake.clear()
