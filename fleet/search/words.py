"""Words of a search: in and out of quotes, and the ones that are near. Pure."""

import difflib
import re

from fleet.search.fields import STATES


def unquoted(text: str) -> str:
    return re.sub(r'"((?:[^"\\]|\\.)*)"', lambda found: re.sub(r"\\(.)", r"\1", found[1]), text)


def quoted(text: str) -> str:
    """How a text is written so that it is read as one word and as nothing else."""
    bare = re.fullmatch(r'[^\s()"\\:<>=-][^\s()"\\:<>=]*', text) is not None
    if bare and text.lower() not in (*STATES, "or", "and", "not"):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def nearest(word: str, words: list[str]) -> str:
    """The one of `words` that is probably meant; empty when none is near."""
    lower = word.lower()
    begun = [other for other in words if lower and other.startswith(lower)]
    return next(iter(begun or difflib.get_close_matches(lower, words, 1, 0.75)), "")


def one_line(query: str) -> str:
    """A search as it is kept: line ends and tabs are blanks in it."""
    return re.sub(r"[\t\r\n]+", " ", query).strip()
