"""What is exported: named columns, and rows that come in blocks. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Literal, TypeVar

Row = TypeVar("Row")
Value = str | int | float | bool | datetime | None
Kind = Literal["text", "number", "count", "flag", "time"]
#: Rows that are read and written at once.
BLOCK = 1000


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """name ends with the unit, where there is one: `latency_p95_ms`. value: of a row; times are aware."""

    name: str
    kind: Kind
    value: Callable[[Row], Value]


@dataclass(frozen=True, slots=True)
class Table(Generic[Row]):
    """name is the file's, without its ending. Blocks are read as they are written: a table is never whole in memory."""

    name: str
    columns: tuple[Column[Row], ...]
    blocks: Iterator[list[Row]]

    @property
    def header(self) -> list[str]:
        return [column.name for column in self.columns]


def text(name: str, value: Callable[[Row], Value]) -> Column[Row]:
    return Column(name, "text", value)


def number(name: str, value: Callable[[Row], Value]) -> Column[Row]:
    return Column(name, "number", value)


def count(name: str, value: Callable[[Row], Value]) -> Column[Row]:
    return Column(name, "count", value)


def flag(name: str, value: Callable[[Row], Value]) -> Column[Row]:
    return Column(name, "flag", value)


def time(name: str, value: Callable[[Row], Value]) -> Column[Row]:
    return Column(name, "time", value)
