"""Fetches the parts of a manifest that this device lacks. Memory holds some blocks, never the artifact."""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agent.deployment.delivery import Delivery, InterruptedWaitError
from agent.deployment.parts import PartFile
from agent.deployment.store import Store
from agent.deployment.window import Block, Window
from agent.wire import manifest as wire

log = logging.getLogger(__name__)

#: A part may come damaged this often; then the fetch has failed.
MAX_BAD = 3

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
    ) -> None:
        """Return when every part lies in the store with its digest; a lost link only waits.

        Raises DownloadError (a part came damaged three times, or nothing came for `give_up` seconds of a live link),
        OSError (disk), InterruptedWaitError.
        """
        with self._turn(interrupted):
            fetch = _Fetch(self._store, self._delivery, manifest, self._clock)
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
    """One fetch, from looking at the disk to the last part."""

    def __init__(self, store: Store, delivery: Delivery, manifest: wire.Manifest, clock: Callable[[], float]) -> None:
        self._store = store
        self._delivery = delivery
        self._clock = clock
        self._parts = {part.digest: part for part in manifest.parts}
        self._total = sum(part.size for part in self._parts.values())
        self._here = 0
        self._lacking: set[str] = set()
        self._todo: deque[wire.Part] = deque()
        self._numbers: Iterator[Block] = iter(())
        self._files: dict[str, PartFile] = {}
        self._bad: Counter[str] = Counter()
        self._window = Window()

    def look(self, interrupted: Callable[[], bool]) -> None:
        """Sort the parts into those that are here and those to fetch."""
        holdings = self._store.holdings()
        for part in self._parts.values():
            if interrupted():
                raise InterruptedWaitError
            if self._store.has(part) or self._store.adopt(part, holdings):
                self._here += part.size
            else:
                self._todo.append(part)
                self._lacking.add(part.digest)

    def run(self, interrupted: Callable[[], bool], progress: Progress, give_up: float) -> None:
        self._delivery.accept(self._lacking)
        connects, quiet_since = self._delivery.connects, self._clock()
        while self._lacking:
            progress(self._here, self._total, self._words())
            if interrupted():
                raise InterruptedWaitError
            if self._delivery.connects != connects:
                connects = self._delivery.connects
                self._window.ask_again()
            if self._delivery.up:
                blocks = self._window.due(self._take, self._clock())
                if blocks and not self._delivery.ask(blocks):
                    self._window.ask_again()
            came = self._delivery.next_block()
            if came is not None:
                self._receive(*came)
            if came is not None or not self._delivery.up:
                quiet_since = self._clock()
            elif self._clock() - quiet_since > give_up:
                raise DownloadError(f"The server sent nothing for {give_up:.0f} s; {self._words()} are here.")
        progress(self._here, self._total, self._words())

    def close(self) -> None:
        self._delivery.accept(())
        for file in self._files.values():
            file.close()

    def _words(self) -> str:
        here = len(self._parts) - len(self._lacking)
        return f"{here} of {len(self._parts)} parts, {self._here / 1e6:.1f} of {self._total / 1e6:.1f} MB"

    def _take(self, count: int) -> list[Block]:
        """Up to `count` missing blocks that were not asked for yet."""
        taken: list[Block] = []
        while len(taken) < count:
            block = next(self._numbers, None)
            if block is not None:
                taken.append(block)
            elif self._todo:
                self._begin(self._todo.popleft())
            else:
                break
        return taken

    def _begin(self, part: wire.Part) -> None:
        file = self._files.get(part.digest)
        if file is None:
            file = self._files[part.digest] = PartFile(self._store.parts, part)
            self._here += file.received
        if file.complete:  # the power went between the last block and the digest
            self._finish(file)
        else:
            self._numbers = ((part.digest, number) for number in file.missing())

    def _receive(self, block: Block, data: bytes) -> None:
        digest, number = block
        file = self._files.get(digest)
        if file is None or number >= file.count or file.has(number):
            return
        wanted = wire.block_size(file.part.size, number)
        if len(data) != wanted:
            self._count_bad(digest, f"block {number} has {len(data)} bytes instead of {wanted}")
            return
        self._window.arrived(block, self._clock())
        file.write(number, data)
        self._here += wanted
        if file.complete:
            self._finish(file)

    def _finish(self, file: PartFile) -> None:
        digest = file.part.digest
        if file.finish():
            self._store.checked(file.part)
            self._lacking.discard(digest)
            del self._files[digest]
            return
        self._here -= file.part.size
        self._todo.append(file.part)
        self._count_bad(digest, "its bytes have another digest")

    def _count_bad(self, digest: str, words: str) -> None:
        self._bad[digest] += 1
        log.warning("part %s is bad (%d of %d): %s", digest[:12], self._bad[digest], MAX_BAD, words)
        if self._bad[digest] >= MAX_BAD:
            raise DownloadError(f"The part {digest[:12]} came damaged {MAX_BAD} times; the last time, {words}.")
