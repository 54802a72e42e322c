"""What could stand where somebody is typing. Pure; the names of what there is come from fleet.search.existing."""

import re
from dataclasses import dataclass

from fleet.search.fields import FIELDS, STATES, Field, Kind, named
from fleet.search.words import unquoted

MOST = 12
_WORD = re.compile(r'[()]|(?:[^\s()"]|"(?:[^"\\]|\\.)*"?)+')
_COMPARISON = re.compile(r"([A-Za-z]\w*)(<=|>=|!=|[:=<>])(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Offer:
    """text is what would stand there; open: something has to follow it, so the next offers come at once."""

    text: str
    detail: str
    open: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """The word at the cursor, from start to end in characters. typed is the part of it before the cursor.

    With a field, start is where its value begins, and typed a part of the value.
    """

    start: int
    end: int
    typed: str
    field: Field | None = None
    operator: str = ""


def place(text: str, cursor: int) -> Place:
    cursor = min(max(cursor, 0), len(text))
    start, end = cursor, cursor
    for found in _WORD.finditer(text):
        if found.start() < cursor <= found.end() and found[0] not in "()":
            start, end = found.span()
    start += len(text[start:cursor]) - len(text[start:cursor].lstrip("-"))
    typed = text[start:cursor]
    compared = _COMPARISON.fullmatch(typed)
    field = named(compared[1]) if compared else None
    if compared is None or field is None:
        return Place(start, end, typed)
    return Place(start + compared.start(3), end, unquoted(compared[3]).strip('"'), field, compared[2])


def fixed(here: Place) -> list[Offer]:
    """What can be offered without looking at the fleet: fields and states, or a field's words and units."""
    begun = here.typed.lower()
    if here.field is None:
        return [*_fields(begun), *_states(begun)]
    if here.field.kind is Kind.CHOICE:
        return [Offer(word, STATES.get(word, ""), False) for word in here.field.choices if word.startswith(begun)]
    if here.field.measure:
        return [Offer(text, here.field.help) for text in here.field.measure.offers(here.typed)[:5]]
    return []


def _fields(begun: str) -> list[Offer]:
    return [
        Offer(f"{field.name}{'>' if field.measure else ':'}", f"{field.help}, as in {field.example}", True)
        for field in FIELDS.values()
        if field.name.startswith(begun) and (begun or field.kind is not Kind.TEXT)
    ]


def _states(begun: str) -> list[Offer]:
    return [Offer(word, meaning) for word, meaning in STATES.items() if word.startswith(begun)]
