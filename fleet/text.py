"""Text that somebody gives, held to what can be stored and shown. Every name, note and search goes through here."""

import re
import unicodedata

from django.utils.text import slugify

from fleet.errors import Refused

#: Control characters, halves of surrogate pairs and separators of lines and paragraphs: PostgreSQL refuses some of
#: them, and in a name the others forge a second line in a log or a list.
_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
_BREAKS = "\n\r\t"


def line(text: str, what: str, longest: int, empty: str | None = None) -> str:
    """One line without space around it. Raises Refused; `what` begins its sentence: `A device's name`.

    empty is the sentence for a line with nothing in it, None where that is allowed.
    """
    return _held(text, what, longest, empty, "")


def notes(text: str, what: str, longest: int) -> str:
    """Lines of text, possibly none, without space around them. Raises Refused as `line`."""
    return _held(text, what, longest, None, _BREAKS)


def _held(text: str, what: str, longest: int, empty: str | None, allowed: str) -> str:
    given = text.strip()
    for letter in given:
        if letter not in allowed and unicodedata.category(letter) in _UNPRINTABLE:
            raise Refused(f"{what} cannot have control characters; this has U+{ord(letter):04X}.")
    if empty is not None and not given:
        raise Refused(empty)
    if len(given) > longest:
        raise Refused(f"{what} has at most {longest:,} characters, not {len(given):,}.")
    return given


def slug(text: str, what: str) -> str:
    """A name that stands in addresses: lower case, dashes for spaces. What would be lost on the way is refused."""
    given = line(text, what, 64)
    made = slugify(given)
    if not made:
        raise Refused(f"{what} needs at least one letter or digit.")
    if made != re.sub(r"[-\s]+", "-", given.lower()):
        strange = sorted({letter for letter in given if not re.fullmatch(r"[\w\s-]", letter, re.ASCII)})
        if strange:
            raise Refused(f"{what} has letters from a to z, digits, - and _ only; leave out {' '.join(strange)}.")
        raise Refused(f"{what} begins and ends with a letter or a digit.")
    return made
