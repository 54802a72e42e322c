"""Reading the small files of /proc and /sys, of which any may be missing, unreadable or odd."""

from pathlib import Path


def text(path: Path) -> str:
    """A file's text, stripped, the NUL bytes of the device tree as spaces; empty when it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8", "replace").replace("\0", " ").strip()
    except OSError:
        return ""


def number(path: Path) -> int | None:
    """A file's whole number ≥ 0; None when there is none."""
    found = text(path)
    return int(found) if found.isdecimal() else None
