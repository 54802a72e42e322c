"""Tags of devices, `site=berlin` or a bare `spare`: what both sides take for one. Kept in lower case."""

import re
from collections.abc import Iterable

MOST = 32
LONGEST_KEY, LONGEST_VALUE = 32, 64

_KEY = re.compile(r"[^\W_][\w.-]*")
_VALUE = re.compile(r"[\w.:/@+-]*")


def parse(text: str) -> tuple[str, str]:
    """Key and value, the value empty for a bare key. Raises ValueError with the end of a sentence about the text."""
    key, _, value = text.strip().lower().partition("=")
    if not _KEY.fullmatch(key):
        raise ValueError("is no tag: its name has letters, digits and . - _ and begins with a letter or digit")
    if not _VALUE.fullmatch(value):
        raise ValueError("is no tag: its value has letters, digits and . - _ : / @ + only")
    if len(key) > LONGEST_KEY or len(value) > LONGEST_VALUE:
        raise ValueError(f"is no tag: a name has at most {LONGEST_KEY} characters, a value {LONGEST_VALUE}")
    return key, value


def collect(words: Iterable[str]) -> dict[str, str]:
    """Tags by key, the later of two with one key. Raises ValueError with a sentence that lacks its full stop."""
    found: dict[str, str] = {}
    for word in words:
        try:
            key, value = parse(word)
        except ValueError as problem:
            raise ValueError(f"“{word}” {problem}") from None
        found[key] = value
    if len(found) > MOST:
        raise ValueError(f"a device has at most {MOST} tags, not {len(found)}")
    return found


def written(key: str, value: str) -> str:
    return f"{key}={value}" if value else key
