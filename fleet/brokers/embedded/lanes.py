"""What waits for one client: bounded, in order, at least once.

amqtt starts a task for each message and each receiver, and none of its queues has a bound. A lane replaces that:

1. A message is queued with its cost. Too much in all: the oldest blocks are dropped, then the oldest other messages.
2. While the connection takes bytes and the window has room, messages are sent: blocks last, so that an order to stop
   does not wait behind the artifact it is about.
3. An acknowledgement makes room. What was not acknowledged when the connection ended is sent again on the next one.
4. Beyond its mark a lane is congested, and those who publish into it wait for their acknowledgement (`Connection`),
   but only for as long as its patience: one slow device must not hold up the fleet.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from fleet.brokers.embedded import frames
from fleet.brokers.embedded.limits import LaneLimits

logger = logging.getLogger(__name__)

#: Bytes that a queued message costs beside its payload and topic.
OVERHEAD = 256


class Budget:
    """Bytes of the payloads in all lanes together. A payload counts once, however many lanes hold it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0


class Publication:
    """One message on its way to any number of lanes.

    kept: the payload is held elsewhere for longer (a retained message), so a lane pays only for its bookkeeping.
    """

    __slots__ = ("bulk", "cost", "holders", "payload", "stems", "topic", "weight")

    def __init__(self, topic: str, payload: bytes, *, kept: bool = False) -> None:
        self.topic, self.payload = topic, payload
        self.bulk = "/block/" in topic
        self.weight = 0 if kept else len(payload)
        self.cost = self.weight + len(topic) + OVERHEAD
        self.holders = 0
        #: The encoded start of the packet, for QoS 0 and 1, made when first needed.
        self.stems: list[bytes | None] = [None, None]

    def stem(self, qos: int) -> bytes:
        stem = self.stems[qos]
        if stem is None:
            stem = self.stems[qos] = frames.publish_stem(self.topic, len(self.payload), qos)
        return stem


class Item(NamedTuple):
    publication: Publication
    #: The low half of a PUBLISH's first byte: duplicate, QoS, retain.
    flags: int
    #: Set when it was sent before: a repetition keeps its id (MQTT-4.4.0-1).
    packet_id: int = 0


class Sink(Protocol):
    """Where a lane sends to."""

    @property
    def writable(self) -> bool: ...

    def send(self, head: bytes, payload: bytes) -> None: ...


class Lane:
    """The messages of one client, for as long as its session lasts. Belongs to the event loop it was made in."""

    def __init__(self, name: str, limits: LaneLimits, budget: Budget, *, persistent: bool) -> None:
        self.name, self.persistent = name, persistent
        self.dropped = 0
        self.congested = False
        self.size = 0
        self._limits, self._budget = limits, budget
        self._loop = asyncio.get_running_loop()
        self._sink: Sink | None = None
        self._urgent: deque[Item] = deque()
        self._bulk: deque[Item] = deque()
        self._underway: dict[int, Item] = {}
        self._underway_size = 0
        self._last_id = 0
        self._laggard = False
        self._patience: asyncio.TimerHandle | None = None
        self._waiting: set[Callable[[], None]] = set()

    # --- The connection comes and goes ------------------------------------------------------------------------------

    def attach(self, sink: Sink) -> None:
        self._sink = sink
        self._flush()

    def detach(self, sink: Sink) -> None:
        """The connection is gone. What it did not acknowledge comes first on the next one; blocks are given up."""
        if self._sink is not sink:
            return
        self._sink = None
        for item in self._underway.values():
            self._release(item)
        again = [Item(item.publication, item.flags | frames.DUP, number) for number, item in self._underway.items()]
        self._underway.clear()
        self._underway_size = 0
        if not self.persistent:
            self.close()
            return
        for item in reversed([item for item in again if not item.publication.bulk]):
            if self._hold(item):
                self._urgent.appendleft(item)
        while self._bulk:
            self._release(self._bulk.popleft())
        self._make_room(0, self._limits.away_bytes)
        self._ease()

    def close(self) -> None:
        """The session is over: nothing waits any more, and nobody waits for it."""
        self.persistent = False
        for item in itertools.chain(self._urgent, self._bulk, self._underway.values()):
            self._release(item)
        self._urgent.clear()
        self._bulk.clear()
        self._underway.clear()
        self._underway_size = 0
        self._ease()

    # --- Messages ---------------------------------------------------------------------------------------------------

    def push(self, publication: Publication, qos: int, *, retain: bool = False) -> bool:
        """Queue a message. Returns whether the publisher should wait (`when_eased`)."""
        if self._sink is None and not (self.persistent and qos and not publication.bulk):
            return False
        item = Item(publication, (frames.QOS_1 if qos else 0) | (frames.RETAIN if retain else 0))
        bound = self._limits.total_bytes if self._sink else self._limits.away_bytes
        if not self._make_room(publication.cost, bound, bulk=publication.bulk) or not self._hold(item):
            self._drop()
            return self.congested
        (self._bulk if publication.bulk else self._urgent).append(item)
        self._flush()
        if self._sink and not self._laggard and not self.congested and self.size > self._limits.mark_bytes:
            self.congested = True
            self._patience = self._loop.call_later(self._limits.patience, self._give_up)
        return self.congested

    def acknowledged(self, packet_id: int) -> None:
        """The client has it. An id that is not under way (acknowledged twice) is ignored."""
        item = self._underway.pop(packet_id, None)
        if item is not None:
            self._underway_size -= item.publication.cost
            self._release(item)
            self._flush()

    def writable(self) -> None:
        """The connection takes bytes again."""
        self._flush()

    def when_eased(self, callback: Callable[[], None]) -> None:
        """Call once (in a later step of the loop) when the lane is no longer congested."""
        self._waiting.add(callback)

    # --- Inside -----------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        sink, limits = self._sink, self._limits
        while sink is not None and sink.writable:
            queue = self._urgent or self._bulk
            if not queue:
                break
            item = queue[0]
            publication = item.publication
            head = bytes((frames.PUBLISH << 4 | item.flags,))
            if item.flags & frames.QOS_1:
                if self._underway and (
                    len(self._underway) >= limits.window_messages
                    or self._underway_size + publication.cost > limits.window_bytes
                ):
                    break
                packet_id = item.packet_id or self._next_id()
                self._underway[packet_id] = item
                self._underway_size += publication.cost
                head += publication.stem(1) + packet_id.to_bytes(2, "big")
            else:
                self._release(item)
                head += publication.stem(0)
            queue.popleft()
            sink.send(head, publication.payload)
        if self.size <= limits.mark_bytes // 2:
            self._laggard = False
            if self.congested:
                self._ease()

    def _next_id(self) -> int:
        while True:
            self._last_id = self._last_id % 65_535 + 1
            if self._last_id not in self._underway:
                return self._last_id

    def _make_room(self, cost: int, bound: int, *, bulk: bool = False) -> bool:
        """Drop the oldest until `cost` more fits below `bound`; a block makes room only among blocks."""
        if cost > bound:
            return False
        while self.size + cost > bound and self._bulk:
            self._release(self._bulk.popleft())
            self._drop()
        while self.size + cost > bound and self._urgent and not bulk:
            self._release(self._urgent.popleft())
            self._drop()
        return self.size + cost <= bound

    def _hold(self, item: Item) -> bool:
        publication, budget = item.publication, self._budget
        if not publication.holders:
            if budget.used + publication.weight > budget.limit:
                return False
            budget.used += publication.weight
        publication.holders += 1
        self.size += publication.cost
        return True

    def _release(self, item: Item) -> None:
        publication = item.publication
        publication.holders -= 1
        if not publication.holders:
            self._budget.used -= publication.weight
        self.size -= publication.cost

    def _drop(self) -> None:
        self.dropped += 1
        if self.dropped & (self.dropped - 1) == 0:  # 1, 2, 4, 8, …: it must be seen, and must not fill the log
            logger.warning(
                "%s does not keep up: %d messages for it were dropped so far, %d bytes wait",
                self.name,
                self.dropped,
                self.size,
            )

    def _give_up(self) -> None:
        self._laggard = True
        self._ease()

    def _ease(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        self.congested = False
        waiting, self._waiting = self._waiting, set()
        for callback in waiting:
            self._loop.call_soon(callback)
