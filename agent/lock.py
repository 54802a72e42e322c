"""One agent for each data folder: two would write the same state."""

import fcntl
import os
import time
from pathlib import Path

FILE = "agent.lock"
#: Seconds to wait for the lock: an agent that was told to stop may still be leaving, a status look takes an instant.
_PATIENCE = 2.0


class DataFolderInUseError(RuntimeError):
    """Another agent works with this data folder."""


class DataFolderLock:
    """Held while the object lives; the kernel lets go of it when the process ends, however it ends."""

    def __init__(self, data: Path) -> None:
        self._file = os.open(data / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        end = time.monotonic() + _PATIENCE
        while not _try_lock(self._file):
            if time.monotonic() > end:
                os.close(self._file)
                raise DataFolderInUseError(
                    f"Another agent is running with the data folder {data}. Stop it, or give this one its own folder."
                )
            time.sleep(0.05)
        os.ftruncate(self._file, 0)
        os.write(self._file, str(os.getpid()).encode())

    def release(self) -> None:
        os.close(self._file)


def held(data: Path) -> bool:
    """Whether an agent is running with this data folder."""
    try:
        file = os.open(data / FILE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _try_lock(file)
    finally:
        os.close(file)


def holder(data: Path) -> int | None:
    """The process that runs with this data folder, by its own word; None when none does."""
    try:
        return int((data / FILE).read_text()) if held(data) else None
    except (OSError, ValueError):
        return None


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
