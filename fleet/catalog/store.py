"""The artifact store: a folder of files named by the SHA-256 of what they hold."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from fleet.errors import Refused

_CHUNK = 1024 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


def path(digest: str) -> Path:
    """Where the file with this digest lies, or would lie. Raises ValueError for what is no digest."""
    if not _DIGEST.match(digest):
        raise ValueError(f"{digest[:80]!r} is no SHA-256")
    return settings.ARTIFACTS_DIR / digest[:2] / digest


def exists(digest: str) -> bool:
    return path(digest).is_file()


def put(chunks: Iterable[bytes], limit: int | None = None) -> tuple[str, int]:
    """Store a stream; returns its digest and size. Nothing half-written is ever seen under a digest.

    Raises Refused as soon as more than `limit` bytes have come.
    """
    settings.ARTIFACTS_DIR.mkdir(parents=True, exist_ok=True)
    hasher, size = hashlib.sha256(), 0
    with tempfile.NamedTemporaryFile(dir=settings.ARTIFACTS_DIR, prefix="incoming-", delete=False) as file:
        try:
            for chunk in chunks:
                size += len(chunk)
                if limit is not None and size > limit:
                    raise Refused(f"The file is larger than the limit of {limit:,} bytes.")
                hasher.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            final = path(hasher.hexdigest())
            final.parent.mkdir(exist_ok=True)
            os.replace(file.name, final)
        except BaseException:
            os.unlink(file.name)
            raise
    return hasher.hexdigest(), size


def put_bytes(data: bytes) -> str:
    """Store bytes that are already in memory; what is there already is not written again."""
    digest = hashlib.sha256(data).hexdigest()
    if not exists(digest):
        put([data])
    return digest


def put_file(source: Path) -> tuple[str, int]:
    with source.open("rb") as file:
        return put(chunks_of(file))


def chunks_of(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def read(digest: str, offset: int = 0, size: int = -1) -> bytes:
    """`size` bytes from `offset`. Raises FileNotFoundError when the store does not have it."""
    with path(digest).open("rb") as file:
        file.seek(offset)
        return file.read(size)
