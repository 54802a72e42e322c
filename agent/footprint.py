"""Gives memory back to the system that the agent does not need any more."""

import contextlib
import ctypes
from pathlib import Path

_MAPS = Path("/proc/self/smaps")
_DONTNEED = 4  # MADV_DONTNEED of <sys/mman.h>


def give_back() -> None:
    """Hand over what was freed. glibc would keep it: 19 MB more with each swap of 20 MB models."""
    with contextlib.suppress(AttributeError, OSError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


def let_go(maps: Path = _MAPS) -> int:
    """Let go of the pages of libraries, most of which were needed to start only; what is used comes back by itself.

    Only of mappings of files that nobody can write to and of which no page was ever changed, so nothing can be lost.
    Returns the bytes of address space that were let go of; 0 where the kernel does not tell.
    """
    total = 0
    with contextlib.suppress(AttributeError, OSError, ValueError):
        advise = ctypes.CDLL(None).madvise
        advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for first, end in _unchanged(maps.read_text()):
            if advise(first, end - first, _DONTNEED) == 0:
                total += end - first
    return total


def _unchanged(smaps: str) -> list[tuple[int, int]]:
    """Mappings of files that are read-only and have no page of this process's own, from first byte to end."""
    found = []
    head: list[str] = []
    for line in smaps.splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            head = words
        elif words[0] == "Anonymous:" and words[1] == "0" and len(head) > 5:
            span, mode, path = head[0], head[1], head[5]
            if mode in ("r-xp", "r--p") and path.startswith("/"):
                first, _, end = span.partition("-")
                found.append((int(first, 16), int(end, 16)))
    return found
