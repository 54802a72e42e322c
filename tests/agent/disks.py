"""A real small disk that fills up."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """A tmpfs of `size` ("40m"), or a skip where none may be mounted.

    It lies beside pytest's own folders, not in them: a run that was killed leaves its mount behind, and pytest would
    fail to collect it.
    """
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = Path(tempfile.mkdtemp(prefix="edgefleet-disk-"))
    try:
        if subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", f"size={size}", "none", disk], check=False).returncode:
            pytest.skip("this container may not mount a file system")
        try:
            yield disk
        finally:
            subprocess.run(["/bin/umount", disk], check=True)
    finally:
        disk.rmdir()


def fill(disk: Path) -> Path:
    """Leave no byte free; gives the file that has to go to make room again."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return ballast
