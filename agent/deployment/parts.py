"""One part on its way to the disk: blocks in any order, a bitmap that survives a power cut, a digest at the end."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from agent.files import write_atomically
from agent.wire import manifest as wire

#: Blocks between two times that the bitmap is written (8 MiB): a power cut costs at most these.
SYNC_BLOCKS = 64
_CHUNK = 1024 * 1024


class PartFile:
    """`<digest>.partial` and `<digest>.bitmap` in the parts folder, until `finish` makes them `<digest>`.

    The bitmap never claims a block that is not durable: data is synced first. All methods raise OSError.
    """

    def __init__(self, folder: Path, part: wire.Part) -> None:
        self.part = part
        self.count = wire.block_count(part.size)
        self._final = folder / part.digest
        self._partial = folder / f"{part.digest}.partial"
        self._bitmap = folder / f"{part.digest}.bitmap"
        self._have = self._read_bitmap()
        self._left = self.count - sum(byte.bit_count() for byte in self._have)
        self._unsynced = 0
        self._file = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, part.size)

    def _read_bitmap(self) -> bytearray:
        size = -(-self.count // 8)
        try:
            data = self._bitmap.read_bytes() if self._partial.exists() else b""
        except OSError:
            data = b""
        return bytearray(data) if len(data) == size else bytearray(size)

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
        os.pwrite(self._file, data, number * wire.BLOCK)
        self._have[number // 8] |= 1 << number % 8
        self._left -= 1
        self._unsynced += 1
        if self._unsynced >= SYNC_BLOCKS and not self.complete:
            self.sync()
        return True

    def sync(self) -> None:
        if self._unsynced:
            os.fdatasync(self._file)
            write_atomically(self._bitmap, bytes(self._have))
            self._unsynced = 0

    def finish(self) -> bool:
        """Whether the digest is right. Then the part has its final name; else it is empty and begins anew."""
        digest = hashlib.sha256()
        for offset in range(0, self.part.size, _CHUNK):
            digest.update(os.pread(self._file, _CHUNK, offset))
        if digest.hexdigest() != self.part.digest:
            self._have = bytearray(len(self._have))
            self._left, self._unsynced = self.count, 0
            self._bitmap.unlink(missing_ok=True)
            return False
        os.fsync(self._file)
        os.replace(self._partial, self._final)
        self._bitmap.unlink(missing_ok=True)
        self.close()
        return True

    def close(self) -> None:
        """Keep what is there for the next boot. Harmless after `finish`."""
        if self._file >= 0:
            if self._partial.exists():
                self.sync()
            os.close(self._file)
            self._file = -1
