"""A search as a tree of conditions that are known to make sense. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from fleet.search.fields import Field


@dataclass(frozen=True, slots=True)
class Condition:
    """value is text, or a number in the measure's own unit (bytes, ms, s, percent).

    start and end are its place, the last `written` characters of which are the value as it was typed.
    """

    field: Field
    operator: str
    value: str | float
    start: int
    end: int
    written: int = 0
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Not:
    inner: "Node"
    start: int
    end: int
    depth: int


@dataclass(frozen=True, slots=True)
class And:
    """Every part holds. bracketed: it stands in parentheses, which start and end include."""

    parts: tuple["Node", ...]
    start: int
    end: int
    depth: int


@dataclass(frozen=True, slots=True)
class Or:
    """One of the parts holds, or several."""

    parts: tuple["Node", ...]
    start: int
    end: int
    depth: int


Node = Condition | Not | And | Or


def leaves(tree: Node | None) -> Iterator[Condition]:
    """Its conditions, from left to right."""
    match tree:
        case Condition():
            yield tree
        case Not(inner):
            yield from leaves(inner)
        case And(parts) | Or(parts):
            for part in parts:
                yield from leaves(part)


def asks(tree: Node | None, field: Field, *values: str) -> bool:
    """Whether any condition is about one of these values of the field."""
    return any(leaf.field is field and leaf.value in values for leaf in leaves(tree))
