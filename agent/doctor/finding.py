"""What a check found."""

from dataclasses import dataclass
from typing import Literal

#: note: nothing that keeps the agent from working, but worth knowing.
Result = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's outcome: words say what is, remedy what to do; there is one for everything that is not ok."""

    check: str
    result: Result
    words: str
    remedy: str = ""


def ok(check: str, words: str) -> Finding:
    return Finding(check, "ok", words)


def note(check: str, words: str, remedy: str) -> Finding:
    return Finding(check, "note", words, remedy)


def problem(check: str, words: str, remedy: str) -> Finding:
    return Finding(check, "problem", words, remedy)
