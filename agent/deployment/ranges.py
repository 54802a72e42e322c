"""Fetches blocks by HTTP Range where the server has offered it; they go the same way as those that come by MQTT."""

import http.client
import logging
import queue
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from agent.deployment.window import Block
from agent.wire.manifest import BLOCK
from agent.wire.messages import Links

log = logging.getLogger(__name__)

TIMEOUT = 20.0
#: A connection of which nothing was asked for this long is closed.
IDLE_SECONDS = 2.0
#: After an error everything comes by MQTT for this long.
PAUSE_SECONDS = 300.0

#: Called with a block that came: digest, number, bytes.
Deliver = Callable[[str, int, bytes], None]


class RangeFetcher:
    """`links`, `take` and `ready` may be called from any thread; the fetching has one of its own.

    A link is for one part, this device and some minutes. What is fetched is not trusted: the block goes to the one who
    checks all blocks.
    """

    def __init__(self, deliver: Deliver, clock: Callable[[], float] = time.monotonic) -> None:
        self._deliver = deliver
        self._clock = clock
        self._links: dict[str, tuple[str, float]] = {}
        self._asked: queue.SimpleQueue[Block] = queue.SimpleQueue()
        self._paused_until = float("-inf")
        self._thread: threading.Thread | None = None

    @property
    def ready(self) -> bool:
        """Whether to ask for links at all."""
        return self._clock() >= self._paused_until

    def links(self, links: Links) -> None:
        until = self._clock() + links.seconds / 2  # a fetch that begins late in its life still ends within it
        now = self._clock()
        held = {digest: kept for digest, kept in self._links.items() if kept[1] > now}
        self._links = held | {link.digest: (link.url, until) for link in links.links}

    def take(self, blocks: list[Block]) -> list[Block]:
        """Fetch those for which there is a link; the others are given back."""
        now, left = self._clock(), []
        for block in blocks:
            if self.ready and self._links.get(block[0], ("", 0.0))[1] > now:
                self._asked.put(block)
            else:
                left.append(block)
        if len(left) < len(blocks) and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ranges", daemon=True)
            self._thread.start()
        return left

    def _run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        address = ""
        while True:
            try:
                digest, number = self._asked.get(timeout=IDLE_SECONDS)
            except queue.Empty:  # the transfer is over: keep no connection
                if connection is not None:
                    connection.close()
                connection = None
                continue
            if not self.ready:
                continue
            try:
                url = self._links[digest][0]
                if connection is None or not url.startswith(address):
                    connection, address = _connection(url)
                self._deliver(digest, number, _block(connection, url, number))
            except (OSError, http.client.HTTPException, KeyError, ValueError) as problem:
                log.warning("the server's web address does not serve (%s); blocks come by MQTT again", problem)
                if connection is not None:
                    connection.close()
                connection = None
                self._paused_until = self._clock() + PAUSE_SECONDS


def _connection(url: str) -> tuple[http.client.HTTPConnection, str]:
    """A connection to the url's server, and what the urls of that server begin with."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=TIMEOUT), f"{parts.scheme}://{parts.netloc}/"


def _block(connection: http.client.HTTPConnection, url: str, number: int) -> bytes:
    """One block; of an answer that is too long, one byte more. Raises HTTPException for any other answer."""
    parts, start = urlsplit(url), number * BLOCK
    span = {"Range": f"bytes={start}-{start + BLOCK - 1}"}
    connection.request("GET", f"{parts.path}?{parts.query}", headers=span)
    with connection.getresponse() as answer:
        data = answer.read(BLOCK + 1)
        if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            raise http.client.HTTPException(f"{answer.status}: {data[:200].decode(errors='replace')}")
        return data
