"""What the link brings for deployments, handed to whoever waits for it: retained files and blocks."""

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable

from agent.deployment import window
from agent.deployment.ranges import RangeFetcher
from agent.deployment.window import Block
from agent.link.connection import Connection
from agent.wire import codec, topics
from agent.wire.manifest import BLOCK
from agent.wire.messages import Links

#: Blocks between the network thread and the disk (8 MiB). Beyond it the link is held up, for so many seconds a block;
#: what then finds no place is dropped, and asked for again.
HELD, HOLD_SECONDS = 64, 1.0
_POLL_SECONDS = 0.25


class InterruptedWaitError(Exception):
    """The wait was ended because its result is not wanted any more."""


class Delivery:
    """The deployments' end of the link. `retained` and `block` are called by the network thread.

    hold_seconds is how long a block may hold it up; 0 where others wait for the same thread.
    """

    def __init__(
        self, device_id: str, connection: Connection, http: bool = False, hold_seconds: float = HOLD_SECONDS
    ) -> None:
        self._hold_seconds = hold_seconds
        #: Fetches by HTTP what the server has offered, where the device is set to.
        self._ranges = RangeFetcher(self.block) if http else None
        self._want_topic = topics.up(device_id, "want")
        self._connection = connection
        self._blocks: queue.Queue[tuple[Block, bytes]] = queue.Queue(HELD)
        #: When a block came last that was cast for many, by the monotonic clock.
        self.cast_at = float("-inf")
        self._wanted: frozenset[str] = frozenset()
        self._retained: dict[str, bytes | None] = {}
        self._waiting: Counter[str] = Counter()
        self._came = threading.Condition()
        #: Blocks that were asked for by MQTT last: if addresses come instead, they are fetched from there.
        self._awaited: list[Block] = []
        #: Rises with each connect: what was asked for before may be lost.
        self.connects = 0

    # --- The network thread ---

    def connected(self) -> None:
        self.connects += 1

    def retained(self, topic: str, body: bytes) -> None:
        """A manifest or metadata. An empty body is a retained message that was cleared."""
        with self._came:
            if body and topic in self._retained:
                self._retained[topic] = body
                self._came.notify_all()

    def block(self, digest: str, number: int, body: bytes, *, cast: bool = False) -> None:
        if cast:
            self.cast_at = time.monotonic()
        if digest in self._wanted:
            try:
                # Of a block that is too large, one byte more than is right is enough to refuse it.
                self._blocks.put(((digest, number), body[: BLOCK + 1]), timeout=self._hold_seconds)
            except queue.Full:  # the disk stands still
                return

    def links(self, links: Links) -> None:
        """Addresses, in place of the blocks that were asked for."""
        if self._ranges is not None:
            self._ranges.links(links)
            self._ranges.take(self._awaited)

    # --- Whoever waits ---

    @property
    def up(self) -> bool:
        return self._connection.connected

    def fetch_manifest(
        self, digest: str, interrupted: Callable[[], bool], seconds: float = float("inf")
    ) -> bytes | None:
        """The bytes of a manifest; None after `seconds` of a live link. Raises InterruptedWaitError."""
        return self.fetch(topics.manifest(digest), interrupted, seconds)

    def fetch(self, topic: str, interrupted: Callable[[], bool], seconds: float = float("inf")) -> bytes | None:
        """What is retained on a topic; None after `seconds` of a live link. Raises InterruptedWaitError."""
        with self._came:
            self._waiting[topic] += 1
            self._retained.setdefault(topic, None)
        self._connection.subscribe(topic)
        try:
            while seconds > 0:
                with self._came:
                    if self._retained[topic] is None:
                        self._came.wait(_POLL_SECONDS)
                    if self._retained[topic] is not None:
                        return self._retained[topic]
                if interrupted():
                    raise InterruptedWaitError
                seconds -= _POLL_SECONDS if self.up else 0
            return None
        finally:
            with self._came:
                self._waiting[topic] -= 1
                if not self._waiting[topic]:
                    self._connection.unsubscribe(topic)
                    del self._retained[topic], self._waiting[topic]

    def accept(self, digests: Iterable[str]) -> None:
        """Take the blocks of these parts and drop all others."""
        self._wanted = frozenset(digests)
        while not self._blocks.empty():
            try:
                self._blocks.get_nowait()
            except queue.Empty:
                break

    def listen(self, manifest: str, on: bool) -> None:
        """Take the blocks that are cast for a manifest, or no more."""
        change = self._connection.subscribe if on else self._connection.unsubscribe
        change(topics.cast_filter(manifest))

    def ask(self, blocks: list[Block], manifest: str = "", lacks: Iterable[Block] = ()) -> bool:
        """Ask for blocks. False without a link: ask again after the next connect."""
        links = self._ranges is not None and self._ranges.ready
        if self._ranges is not None:
            blocks = self._ranges.take(blocks)
            self._awaited = blocks
            if not blocks:
                return True
        message = window.want(blocks, manifest, lacks, links=links)
        return self._connection.publish(self._want_topic, codec.encode(message)) is not None

    def next_block(self) -> tuple[Block, bytes] | None:
        """The next block, or None when none came for a moment."""
        try:
            return self._blocks.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            return None
