"""From a search as text to its tree (fleet.search.tree). Pure; lark does the parsing.

A search is bounded in length, in the number of its conditions and in depth, so that none can be made to cost much.
"""

import functools
import re
import unicodedata
from pathlib import Path
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedInput

from agent.wire import tags
from fleet.search.errors import SearchError, place
from fleet.search.fields import ALIASES, ANY, FIELDS, IS, STATES, Field, Kind, named
from fleet.search.misread import misread
from fleet.search.tree import And, Condition, Node, Not, Or, leaves
from fleet.search.words import nearest, unquoted

LONGEST, MOST, DEEPEST = 500, 40, 10
_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")


def parse(text: str) -> Node | None:
    """The search as a tree; None for an empty one, which every device matches. Raises SearchError."""
    if len(text) > LONGEST:
        raise SearchError(
            f"A search has at most {LONGEST} characters, not {len(text):,}.", LONGEST, len(text) - LONGEST
        )
    for at, letter in enumerate(text):
        if letter not in "\t\n\r" and unicodedata.category(letter) in _UNPRINTABLE:
            raise SearchError(f"A search cannot have control characters; {place(at)} is U+{ord(letter):04X}.", at, 1)
    if not text.strip():
        return None
    try:
        tree: Node = _parser().parse(text)  # type: ignore[assignment]  # the transformer makes nodes of its trees
    except UnexpectedInput as problem:
        raise misread(text, problem) from None
    if len(conditions := list(leaves(tree))) > MOST:
        late = conditions[MOST]
        raise SearchError(
            f"A search has at most {MOST} conditions, not {len(conditions)}.", late.start, late.end - late.start
        )
    return tree


# --- Reading --------------------------------------------------------------------------------------------------------


@functools.cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("grammar.lark").read_text()
    return Lark(grammar, parser="lalr", transformer=_Build(), maybe_placeholders=False)


class _Build(Transformer[Token, Node]):
    """Called for each rule as soon as it is read: no tree of lark's is made, and nothing here recurses."""

    def word(self, found: list[Any]) -> Node:
        (token,) = found
        start, end = _span(token)
        if token.lower() in STATES:
            return Condition(IS, ":", token.lower(), start, end)
        return Condition(ANY, ":", _something(token), start, end)

    def comparison(self, found: list[Any]) -> Node:
        name, operator, value = found
        start, end = _span(name)[0], _span(value)[1]
        field = _field(name, value, str(operator).strip())
        sign = str(operator).strip()
        if sign not in field.operators:
            raise SearchError(
                f"{field.name} is compared with {_listed(field.operators)}, not with {sign} "
                f"({place(start)}), as in {field.example}.",
                *_inside(operator),
                "<" if field.measure else ":",
            )
        given = _value(field, value)
        if sign == "!=":
            return Not(Condition(field, "=", given, start, end, len(value)), start, end, 1)
        return Condition(field, sign, given, start, end, len(value))

    def negated(self, found: list[Any]) -> Node:
        sign, inner = found
        return Not(inner, _span(sign)[0], inner.end, _deeper(inner, _span(sign)[0]))

    def bracketed(self, found: list[Any]) -> Node:
        opening, inner, closing = found
        start, end = _span(opening)[0], _span(closing)[1]
        parts = inner.parts if isinstance(inner, Or) else (inner,)
        kind = Or if isinstance(inner, Or) else And
        return kind(parts, start, end, _deeper(inner, start))

    def both(self, found: list[Any]) -> Node:
        return _joined(And, [part for part in found if not isinstance(part, Token)])

    def either(self, found: list[Any]) -> Node:
        return _joined(Or, [part for part in found if not isinstance(part, Token)])


def _joined(kind: type[And] | type[Or], parts: list[Node]) -> Node:
    if len(parts) == 1:
        return parts[0]
    return kind(tuple(parts), parts[0].start, parts[-1].end, max(part.depth for part in parts))


def _deeper(inner: Node, start: int) -> int:
    depth = 1 + inner.depth
    if depth > DEEPEST:
        raise SearchError(f"Parentheses and negations go at most {DEEPEST} deep ({place(start)}).", start, 1)
    return depth


def _span(token: Token) -> tuple[int, int]:
    start = token.start_pos or 0
    return start, start + len(token)


def _inside(token: Token) -> tuple[int, int]:
    """Place and length of a token without the blanks around it."""
    return _span(token)[0] + len(token) - len(token.lstrip()), len(token.strip())


# --- Fields and values ----------------------------------------------------------------------------------------------


def _field(token: Token, value: Token, sign: str) -> Field:
    if field := named(token):
        return field
    start, end = _span(token)
    near = nearest(token, [*FIELDS, *ALIASES])
    whole = f"{token}{sign}{value}"
    if near:
        hint = f"the nearest is {near}"
    elif sign in (":", "="):
        hint = f"a tag is searched as tag:{token}={value}, and a text as “{whole}” in quotes"
        near = f"tag:{token}" if sign == "=" else ""
    else:
        hint = f"there are {_listed([field.name for field in FIELDS.values() if field.measure], 'and')} to compare"
    raise SearchError(f"There is no field “{token}” ({place(start)}); {hint}.", start, end - start, near)


def _listed(words: list[str] | tuple[str, ...], last: str = "or") -> str:
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else words[0]


def _something(token: Token) -> str:
    """Its text without quotes. Nothing at all would be found everywhere."""
    text = unquoted(token)
    if not text.strip():
        raise SearchError(
            f"There is nothing between the quotes ({place(_span(token)[0])}).", _span(token)[0], len(token)
        )
    return text


def _value(field: Field, token: Token) -> str | float:
    start, end = _span(token)
    text = _something(token)
    if field.measure:
        number = field.measure.parse(text)
        if number is None:
            raise SearchError(
                f"{field.name} is compared with {_number_words(field)}, not with “{text}” ({place(start)}), "
                f"as in {field.example}.",
                start,
                end - start,
            )
        return number
    if field.kind is Kind.CHOICE:
        word = text.lower()
        if word not in field.choices:
            near = nearest(word, list(field.choices))
            raise SearchError(
                f"{field.name} is {_listed(field.choices)}, not “{text}” ({place(start)}).", start, end - start, near
            )
        return word
    if field.name == "tag":
        if text.endswith("="):
            words = f"A value has to follow tag:{text}; tag:{text[:-1]} asks for any."
            raise SearchError(words, end, unfinished=True)
        try:
            key, value = tags.parse(text)
        except ValueError as problem:
            raise SearchError(f"“{text}” ({place(start)}) {problem}.", start, end - start) from None
        return f"{key}={value}" if "=" in text else key
    if field.name == "model" and not re.fullmatch(r"[^@]+(@\d{1,9})?", text):
        raise SearchError(
            f"A model is searched as its name, or as name@version with a number, not as “{text}” ({place(start)}).",
            start,
            end - start,
        )
    return text


def _number_words(field: Field) -> str:
    assert field.measure is not None  # noqa: S101  # the caller has looked
    units = [unit for unit in field.measure.units if unit]
    if not units:
        return "a whole number"
    return f"a number and its unit ({', '.join(units[:5])})" if not field.measure.usual else f"a number of {units[0]}"
