"""One part on its way to the disk: blocks in any order, notes of them that survive a power cut, a digest at the end."""

import array
import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.wire import manifest as wire

#: Blocks between two times that data and notes are synced (8 MiB): a power cut costs at most these, a kill nothing.
SYNC_BLOCKS = 64
_CHUNK = 1024 * 1024
_NOTE = 4


class PartFile:
    """`<digest>.partial` and `<digest>.blocks` in the parts folder, until `finish` makes them `<digest>`.

    The notes hold the CRC-32 of each block that came, 0 for none, and are written after the block. At the next boot a
    block counts whose bytes agree with its note, so that it does not matter what of the two a power cut kept. All
    methods raise OSError.
    """

    def __init__(self, folder: Path, part: wire.Part) -> None:
        self.part = part
        self.count = wire.block_count(part.size)
        self._final = folder / part.digest
        self._partial = folder / f"{part.digest}.partial"
        self._notes_path = folder / f"{part.digest}.blocks"
        with _opened(self._partial) as file:
            os.ftruncate(file, part.size)
        self._have = self._read_notes()
        self._left = self.count - sum(byte.bit_count() for byte in self._have)
        self._unsynced = 0

    def _read_notes(self) -> bytearray:
        have = bytearray(-(-self.count // 8))
        notes = array.array("I")
        with _opened(self._notes_path) as file:
            data = os.pread(file, self.count * _NOTE, 0)
        notes.frombytes(data[: len(data) // _NOTE * _NOTE])
        with _opened(self._partial) as file:
            for number, note in enumerate(notes):
                if note and zlib.crc32(os.pread(file, wire.BLOCK, number * wire.BLOCK)) == note:
                    have[number // 8] |= 1 << number % 8
        return have

    @property
    def complete(self) -> bool:
        return self._left == 0

    @property
    def received(self) -> int:
        """Bytes that are there."""
        last = self.has(self.count - 1)
        return (self.count - self._left) * wire.BLOCK - (
            wire.BLOCK - wire.block_size(self.part.size, self.count - 1) if last else 0
        )

    def has(self, number: int) -> bool:
        return bool(self._have[number // 8] >> number % 8 & 1)

    def missing(self) -> Iterator[int]:
        """Block numbers that are not there, in order, as of when each is asked for."""
        return (number for number in range(self.count) if not self.has(number))

    def write(self, number: int, data: bytes) -> bool:
        """Put a block of the right size in its place. False when it was there already."""
        if self.has(number):
            return False
        with _opened(self._partial) as file:
            os.pwrite(file, data, number * wire.BLOCK)
        with _opened(self._notes_path) as file:
            os.pwrite(file, array.array("I", [zlib.crc32(data)]).tobytes(), number * _NOTE)
        self._have[number // 8] |= 1 << number % 8
        self._left -= 1
        self._unsynced += 1
        if self._unsynced >= SYNC_BLOCKS and not self.complete:
            self.sync()
        return True

    def sync(self) -> None:
        """Let a power cut keep what came. Harmless after `finish`."""
        if self._unsynced and self._partial.exists():
            for path in (self._partial, self._notes_path):
                with _opened(path) as file:
                    os.fdatasync(file)
        self._unsynced = 0

    def finish(self) -> bool:
        """Whether the digest is right. Then the part has its final name; else it is empty and begins anew."""
        digest = hashlib.sha256()
        with _opened(self._partial) as file:
            for offset in range(0, self.part.size, _CHUNK):
                digest.update(os.pread(file, _CHUNK, offset))
            if digest.hexdigest() != self.part.digest:
                self._have = bytearray(len(self._have))
                self._left, self._unsynced = self.count, 0
                self._notes_path.unlink(missing_ok=True)
                return False
            os.fsync(file)
        os.replace(self._partial, self._final)
        self._notes_path.unlink(missing_ok=True)
        return True


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open for this moment only: there may be thousands of parts on their way."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield file
    finally:
        os.close(file)
