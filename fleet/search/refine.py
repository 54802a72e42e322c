"""A search narrowed to one state, and the same without it, as text: what a page's links say. Pure."""

from collections.abc import Collection
from dataclasses import dataclass

from fleet.search.fields import IS
from fleet.search.tree import And, Condition, Node, Or


@dataclass(frozen=True, slots=True)
class Parted:
    """The one of the states that the whole search is held to, empty when there is none, and the rest of it."""

    state: str
    rest: str

    def at(self, state: str) -> str:
        return f"{self.rest} {state}".strip()


def parted(text: str, tree: Node | None, states: Collection[str]) -> Parted:
    """Only a condition that stands beside all others counts: `offline` in `arm or offline` narrows nothing."""
    for part in tree.parts if isinstance(tree, And) else (tree,):
        if isinstance(part, Condition) and part.field is IS and part.value in states:
            rest = f"{text[: part.start].rstrip()} {text[part.end :].lstrip()}".strip()
            return Parted(str(part.value), rest)
    alone = isinstance(tree, Or) and text[tree.start] != "("
    return Parted("", f"({text.strip()})" if alone else text.strip())
