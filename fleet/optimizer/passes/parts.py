"""Settings of their own for parts of a model (vision, language, action), by how the names of their weights begin."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def of(name: str, apart: Mapping[str, T], rest: T) -> T:
    """The setting of the longest beginning that the name has; `rest` when it has none."""
    longest = max((each for each in apart if name.startswith(each)), key=len, default=None)
    return rest if longest is None else apart[longest]
