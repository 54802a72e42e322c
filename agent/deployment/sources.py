"""Makes a part out of fewer bytes than it has: decompressed, or patched from a part that is here."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from agent.wire import manifest as wire

_CHUNK = 256 * 1024
#: Where a BSDIFF4 patch says how long its result is.
_LENGTH = slice(24, 32)


class SourceError(ValueError):
    """What came does not make the part."""


def make(source: wire.Source, path: Path, base: bytes | None, part: wire.Part, into: Path) -> None:
    """Write the part to `into`, synced, if it comes out of the file `path` with its digest.

    base are the bytes of the part that a patch changes. Raises SourceError, or OSError as the disk does; then `into`
    is not there.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with into.open("wb") as file:
            for chunk in _decompressed(path) if source.how == "zstd" else _patched(path, base or b"", part):
                size += len(chunk)
                if size > part.size:
                    raise SourceError(f"more than the {part.size} bytes of the part come out of it")
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != part.digest:
            raise SourceError("what comes out of it has another digest")
    except (SourceError, OSError):
        into.unlink(missing_ok=True)
        raise


def _decompressed(path: Path) -> Iterator[bytes]:
    from backports import zstd  # the libraries are loaded by those who need them

    decompressor = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: 23})
    with path.open("rb") as file:
        try:
            while not decompressor.eof:
                more = file.read(_CHUNK) if decompressor.needs_input else b""
                if decompressor.needs_input and not more:
                    raise SourceError("it ends too early")
                yield decompressor.decompress(more, max_length=_CHUNK)
        except zstd.ZstdError as problem:
            raise SourceError(f"it cannot be decompressed: {problem}") from problem


def _patched(path: Path, base: bytes, part: wire.Part) -> Iterator[bytes]:
    import bsdiff4

    if max(part.size, path.stat().st_size) > wire.MAX_PATCHED:
        raise SourceError("it is too large to be patched in memory")
    patch = path.read_bytes()
    if int.from_bytes(patch[_LENGTH], "little") != part.size:
        raise SourceError("the patch makes something of another size")
    try:
        yield bsdiff4.patch(base, patch)
    except (ValueError, OSError, EOFError, MemoryError) as problem:
        raise SourceError(f"it cannot be patched: {problem}") from problem
