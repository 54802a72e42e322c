"""Settings of their own for parts of a model (vision, language, action), by how the names of their weights begin."""

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def of(name: str, apart: Iterable[tuple[str, T]], rest: T) -> T:
    """The setting of the longest beginning that the name has; `rest` when it has none."""
    longest = max((pair for pair in apart if name.startswith(pair[0])), key=lambda pair: len(pair[0]), default=None)
    return rest if longest is None else longest[1]
