"""Fetches the parts of a manifest that this device lacks, each in the form that takes the fewest bytes.

Memory holds some blocks, never the artifact.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

from agent.deployment.delivery import Delivery, InterruptedWaitError
from agent.deployment.parts import PartFile
from agent.deployment.sources import SourceError
from agent.deployment.store import Holdings, Store
from agent.deployment.window import MAX_LACKS, Block, Window
from agent.wire import manifest as wire

log = logging.getLogger(__name__)

#: A part may come damaged this often; then the fetch has failed.
MAX_BAD = 3

#: Seconds after a block that was cast in which nothing is asked for: the next one is on its way.
CAST_SECONDS = 2.0
#: Where blocks are sent to many at once, those that were named come unasked. While the last one came within so many
#: seconds, nothing is asked for.
UNASKED_SECONDS = 4.0
#: Blocks that are named to the server at the beginning (8 GiB); what is beyond is asked for as usual.
_NAMED = 65_536

#: Called with the bytes that are there, the bytes of all parts, and words for a person.
Progress = Callable[[int, int, str], None]


class DownloadError(RuntimeError):
    """The parts cannot be had; the message says why."""


class Downloader:
    """One fetch at a time: two of the same part would write the same file."""

    def __init__(self, store: Store, delivery: Delivery, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._delivery = delivery
        self._clock = clock
        self._lock = threading.Lock()

    def fetch(
        self,
        manifest: wire.Manifest,
        interrupted: Callable[[], bool],
        progress: Progress = lambda *_: None,
        give_up: float = float("inf"),
        cast: str = "",
    ) -> None:
        """Return when every part lies in the store with its digest; a lost link only waits.

        cast is the manifest's digest, if blocks may be taken that are sent to many at once.

        Raises DownloadError (a part came damaged three times, or nothing came for `give_up` seconds of a live link),
        OSError (disk), InterruptedWaitError.
        """
        with self._turn(interrupted):
            fetch = _Fetch(self._store, self._delivery, manifest, self._clock, cast)
            try:
                fetch.look(interrupted)
                fetch.run(interrupted, progress, give_up)
            finally:
                fetch.close()

    @contextmanager
    def _turn(self, interrupted: Callable[[], bool]) -> Iterator[None]:
        while not self._lock.acquire(timeout=0.25):
            if interrupted():
                raise InterruptedWaitError
        try:
            yield
        finally:
            self._lock.release()


class _Fetch:
    """One fetch, from looking at the disk to the last part.

    An item is what is fetched for a part: the part itself, or a source that it is made from.
    """

    def __init__(
        self, store: Store, delivery: Delivery, manifest: wire.Manifest, clock: Callable[[], float], cast: str
    ) -> None:
        self._store = store
        self._delivery = delivery
        self._clock = clock
        self._cast = cast
        self._parts = {part.digest: part for part in manifest.parts}
        self._sources: dict[str, list[wire.Source]] = {}
        for source in sorted(manifest.sources, key=lambda source: source.size, reverse=True):
            self._sources.setdefault(source.part, []).append(source)
        self._holdings: Holdings = {}
        self._total = 0
        self._here = 0
        self._lacking: set[str] = set()
        #: Items by digest, in order; an item that was made into its part is gone.
        self._items: dict[str, tuple[wire.Part, wire.Source | None]] = {}
        self._todo: deque[str] = deque()
        self._numbers: Iterator[Block] = iter(())
        self._files: dict[str, PartFile] = {}
        self._bad: Counter[str] = Counter()
        self._window = Window()

    def look(self, interrupted: Callable[[], bool]) -> None:
        """Sort the parts into those that are here and those to fetch."""
        self._holdings = self._store.holdings()
        for part in self._parts.values():
            if interrupted():
                raise InterruptedWaitError
            if self._store.has(part) or self._store.adopt(part, self._holdings):
                self._here += part.size
                self._total += part.size
            else:
                self._lacking.add(part.digest)
                self._choose(part)

    def _choose(self, part: wire.Part) -> None:
        """The smallest source that is not used up and whose base is here; without one, the part itself."""
        sources = self._sources.get(part.digest, [])
        while sources:
            source = sources.pop()
            if source.base and (source.base not in self._holdings or part.size > wire.MAX_PATCHED):
                continue
            self._items[source.digest] = (wire.Part(source.digest, source.size, part.role), source)
            self._todo.append(source.digest)
            self._total += source.size
            return
        self._items[part.digest] = (part, None)
        self._todo.append(part.digest)
        self._total += part.size

    def run(self, interrupted: Callable[[], bool], progress: Progress, give_up: float) -> None:
        self._delivery.accept(self._items)
        if self._cast and self._lacking:
            self._delivery.listen(self._cast, True)
        connects, begun = self._delivery.connects, self._clock()
        quiet_since, unasked_until = begun, begun
        lacks: list[Block] | None = self._missing()
        while self._lacking:
            progress(self._here, self._total, self._words())
            if interrupted():
                raise InterruptedWaitError
            if self._delivery.connects != connects:
                connects, unasked_until = self._delivery.connects, self._clock()
                self._window.ask_again()
                lacks = self._missing()
            if self._clock() - self._delivery.cast_at < CAST_SECONDS:
                lacks = None  # a cast is under way, and brings what would be asked for; what it has left is named then
            elif self._delivery.up and self._clock() >= unasked_until:
                blocks = self._window.due(self._take, self._clock())
                if blocks and lacks is None:
                    lacks = self._missing()
                if blocks and not self._delivery.ask(blocks, self._cast, lacks or ()):
                    self._window.ask_again()
                elif blocks:
                    if lacks and self._delivery.cast_at > begun:
                        unasked_until = self._clock() + UNASKED_SECONDS
                    lacks = []
            came = self._delivery.next_block()
            if came is not None:
                self._receive(*came)
                if self._clock() < unasked_until:
                    unasked_until = self._clock() + UNASKED_SECONDS
            if came is not None or not self._delivery.up:
                quiet_since = self._clock()
            elif self._clock() - quiet_since > give_up:
                raise DownloadError(f"The server sent nothing for {give_up:.0f} s; {self._words()} are here.")
        progress(self._here, self._total, self._words())

    def close(self) -> None:
        self._delivery.accept(())
        if self._cast:
            self._delivery.listen(self._cast, False)
        for file in self._files.values():
            file.sync()

    def _words(self) -> str:
        here = len(self._parts) - len(self._lacking)
        return f"{here} of {len(self._parts)} parts, {self._here / 1e6:.1f} of {self._total / 1e6:.1f} MB"

    def _missing(self) -> list[Block]:
        """Every block that is not here, of as many items as one message can name, for the server to cast."""
        if not self._cast:
            return []
        blocks = (
            (digest, number)
            for digest in list(self._items)[:MAX_LACKS]
            for number in (
                self._files[digest].missing()
                if digest in self._files
                else range(wire.block_count(self._items[digest][0].size))
            )
        )
        return list(islice(blocks, _NAMED))

    def _take(self, count: int) -> list[Block]:
        """Up to `count` missing blocks that were not asked for yet."""
        taken: list[Block] = []
        while len(taken) < count:
            block = next(self._numbers, None)
            if block is not None:
                taken.append(block)
            elif self._todo:
                digest = self._todo.popleft()
                if digest in self._items:  # a cast may have brought all of it meanwhile
                    self._begin(digest)
            else:
                break
        return taken

    def _begin(self, digest: str) -> None:
        file = self._open(digest)
        if file is None or file.complete:  # the power went between the last block and the digest
            self._finish(digest)
        else:
            self._numbers = ((digest, number) for number in file.missing())

    def _open(self, digest: str) -> PartFile | None:
        """The item's file; None when it lies here whole, as a power cut can leave a source."""
        if digest not in self._files:
            item, _ = self._items[digest]
            if self._store.has(item):
                self._here += item.size
                return None
            self._files[digest] = PartFile(self._store.parts, item)
            self._here += self._files[digest].received
        return self._files[digest]

    def _receive(self, block: Block, data: bytes) -> None:
        digest, number = block
        if digest not in self._items:
            return
        size = self._items[digest][0].size
        if number >= wire.block_count(size):
            return
        wanted = wire.block_size(size, number)
        if len(data) != wanted:
            self._count_bad(digest, f"block {number} has {len(data)} bytes instead of {wanted}")
            return
        file = self._open(digest)
        self._window.arrived(block, self._clock())
        if file is None or not file.write(number, data):
            return
        self._here += wanted
        if file.complete:
            self._finish(digest)

    def _finish(self, digest: str) -> None:
        """Every block of an item is here."""
        item, source = self._items[digest]
        file = self._files.get(digest)
        if file is not None:
            if not file.finish():
                self._here -= item.size
                self._todo.append(digest)
                self._count_bad(digest, "its bytes have another digest")
                return
            self._store.checked(item)
            del self._files[digest]
        del self._items[digest]
        part = self._parts[source.part] if source else item
        if source:
            try:
                self._store.make(source, part, self._holdings)
            except SourceError as problem:
                log.warning("part %s is not made by %s: %s", part.digest[:12], source.how, problem)
                self._choose(part)
                self._delivery.accept(self._items)
                return
        self._lacking.discard(part.digest)

    def _count_bad(self, digest: str, words: str) -> None:
        self._bad[digest] += 1
        log.warning("part %s is bad (%d of %d): %s", digest[:12], self._bad[digest], MAX_BAD, words)
        if self._bad[digest] >= MAX_BAD:
            raise DownloadError(f"The part {digest[:12]} came damaged {MAX_BAD} times; the last time, {words}.")
