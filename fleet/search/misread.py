"""The sentence for what the grammar has no place for. Pure."""

import re

from lark import UnexpectedInput

from fleet.search.errors import SearchError, place
from fleet.search.fields import named


def misread(text: str, problem: UnexpectedInput) -> SearchError:
    """The sentence for what the grammar has no place for."""
    at = problem.pos_in_stream
    token = getattr(problem, "token", None)
    ended = at is None or at < 0 or (token is not None and token.type == "$END") or at >= len(text.rstrip())
    at = len(text.rstrip()) if ended else int(at or 0)
    before = text[:at].rstrip()
    if not ended and text[at] == '"':
        return SearchError(f"The quote at {place(at)} is never closed.", at, len(text) - at, unfinished=True)
    if comparison := re.search(r"(\w+)\s*(<=|>=|!=|[:=<>])$", before):
        field = named(comparison[1])
        example = f", as in {field.example}" if field else ""
        return SearchError(f"A value has to follow {comparison[0]}{example}.", at, 0 if ended else 1, unfinished=ended)
    if ended and (opened := _unclosed(text)) is not None and not re.search(r"(?i)(^|[\s(])(or|and|not|\()$", before):
        return SearchError(f"The ( at {place(opened)} is never closed.", opened, 1, unfinished=True)
    here = text[at : at + 1] if not ended else ""
    if here == ")":
        opened = before.endswith("(")
        words = "There is nothing between ( and )" if opened else f"There is no ( for the ) at {place(at)}"
        if not opened and (last := re.search(r"(?i)(?:^|[\s(])(or|and|not)$", before)):
            words = f"Something has to follow {last[1]}, before the ) at {place(at)}"
        return SearchError(f"{words}.", at, 1)
    if here == "-":
        return SearchError(
            f"The - at {place(at)} has to stand directly before what it excludes, as in -offline.",
            at,
            1,
            unfinished=at + 1 == len(text),
        )
    if token is not None and not ended:
        return SearchError(
            f"“{token}” ({place(at)}) stands between two conditions; before it there is none.", at, len(token)
        )
    last_word = re.split(r"[\s(]", before)[-1] or "("
    words = f"Something has to follow {last_word}: a word, or a field as in class:mobile."
    return SearchError(words, at, unfinished=True)


def _unclosed(text: str) -> int | None:
    """The place of the innermost parenthesis that is left open; quotes are passed over."""
    open_now: list[int] = []
    for found in re.finditer(r'"(?:[^"\\]|\\.)*"|[()]', text):
        if found[0] == "(":
            open_now.append(found.start())
        elif found[0] == ")" and open_now:
            open_now.pop()
    return open_now[-1] if open_now else None
