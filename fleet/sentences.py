"""What the domain or a device said in English, in the reader's language.

Sentences are composed where things happen, stored and sent in English, and translated only when somebody reads them:
the catalogue `sentences` (fleet/locale) has each as it stands in the source, with `{0}`, `{1}` for what is filled in,
`{0:n}` where that is a number.

1. A sentence that the catalogue has word for word is its translation.
2. Else the forms whose own words stand in it are tried, `{0} was retired`; what stands at their places is looked up
   likewise, but not a name between quotes, `“{0}”`. Several sentences behind each other are taken apart first.
3. A sentence may stand as a clause of another one: its first letter small, its full stop gone.
4. Of all ways to read it, the one wins that leaves the fewest letters untranslated; of equal ones, the one of the
   fewest pieces; then the form with words of its own before one that only joins, the one with fewer places
   (`{0} succeeded` around `Optimizing {0} for {1}`), and a number is read as one.
5. What fits no form stays as it is.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import cache, lru_cache
from itertools import pairwise
from typing import NamedTuple

from django.conf import settings
from django.utils import translation
from django.utils.functional import lazy
from django.utils.translation.trans_real import DjangoTranslation

from fleet.units import NBSP

#: The catalogue's name: `<DOMAIN>.po`.
DOMAIN = "sentences"
#: A text that is longer is no sentence of ours.
LONGEST = 2000
#: Forms that are tried for one text, its values included: what a hostile text can cost.
TRIES = 300
PLACE = re.compile(r"\{(\d+(?::n)?)\}")
_NUMBER = re.compile(r"[+\-\N{MINUS SIGN}]?[\d.,]+(e[+-]?\d+)?\s?%?|nan|-?inf")
_WORD = re.compile(r"[A-Za-z]+")
#: A word that no value touches: it stands in each text of its form as a word too. § is where a value goes.
_WHOLE_WORD = re.compile(r"(?<![A-Za-z§])[A-Za-z]+(?![A-Za-z§])")
#: Letters of its own that a form may have and still be weak.
_FEW = 3
_LETTER = re.compile(r"[A-Za-z]")
_SPACE = re.compile(r"\s")
#: More than a name and a figure with its unit.
_PHRASE = re.compile(r"[A-Za-z]\S*\s|\s.*[A-Za-z]")
#: Full stops, in English and in the languages that there are catalogues of.
_STOPS = ".。"
_BETWEEN = re.compile(r"(?<=[.!?]) (?=[A-Z“])|(?<=\n)|(?=\n)")


class Form:
    """A sentence with places: the literal texts between them, which a text has in this order, and its translation."""

    def __init__(self, source: str, translated: str) -> None:
        self._literals = PLACE.split(source)[::2]
        self._places = PLACE.split(source)[1::2]
        self._translated = PLACE.split(translated)
        self.letters = len(_LETTER.findall(PLACE.sub("", source)))
        self.quoted = [before.endswith("“") and after.startswith("”") for before, after in pairwise(self._literals)]
        self.words = frozenset(_WHOLE_WORD.findall(PLACE.sub("§", source).lower()))
        #: It has hardly words of its own, `{0} is {1}`: what it joins has to be known, or be names.
        self.weak = self.letters <= _FEW and ": " not in source
        numbers = sum(place.endswith(":n") for place in self._places)
        #: What is tried first, and so wins of equals: `{0}: {1}` names whom the rest is about.
        self.order = self.weak, self.letters > _FEW, len(self._places), -numbers, -len("".join(self._literals))
        first = self._literals[0]
        self._beginnings = (first, first[:1].lower() + first[1:])
        self._stops = self.letters > _FEW and source.endswith(".")

    def _cut(self, text: str) -> bool:
        """Whether `text` would be a clause: without the full stop of this form."""
        return self._stops and not text.endswith(".")

    def values(self, text: str) -> list[str] | None:
        """What stands at the places of `text`, in their order; None when it is not of this form. Linear in the text."""
        first, *inner, last = self._literals
        if self._cut(text):
            last = last[:-1]
        at, end = len(first), len(text) - len(last)
        if at > end or not text.startswith(self._beginnings) or not text.endswith(last):
            return None
        found = []
        for literal in inner:
            here = text.find(literal, at, end)
            if here < 0:
                return None
            found.append(text[at:here])
            at = here + len(literal)
        found.append(text[at:end])
        numbers = (value for place, value in zip(self._places, found, strict=True) if place.endswith(":n"))
        return found if all(map(_NUMBER.fullmatch, numbers)) else None

    def say(self, text: str, values: list[str]) -> str:
        """`text` in translation, from what stands at its places."""
        there = dict(zip(self._places, values, strict=True))
        parts = (there.get(part, "") if number % 2 else part for number, part in enumerate(self._translated))
        said = "".join(parts)
        return said.rstrip(_STOPS) if self._cut(text) else said


class Sentences:
    """The sentences of one language. Pure: from the mapping of sources to translations that is given."""

    def __init__(self, translations: Mapping[str, str]) -> None:
        self._exact = {source: said for source, said in translations.items() if not PLACE.search(source)}
        folded = {source.casefold(): said for source, said in self._exact.items()}
        clauses = {source[:-1]: said.rstrip(_STOPS) for source, said in folded.items() if source.endswith(".")}
        self._folded = {**clauses, **folded}
        forms = [Form(source, said) for source, said in translations.items() if PLACE.search(source)]
        often = Counter(word for form in forms for word in form.words)
        #: Each form under the rarest of its words, so that a text meets few of them; those without words under "".
        self._forms: dict[str, list[Form]] = defaultdict(list)
        for form in forms:
            self._forms[min(form.words, key=lambda word: (often[word], -len(word)), default="")].append(form)

    def say(self, text: str) -> str:
        if len(text) > LONGEST:
            return text
        return _Reading(self).best(text).words

    def exact(self, text: str) -> str | None:
        return self._exact.get(text) or self._folded.get(text.casefold())

    def forms(self, text: str) -> list[Form]:
        words = ["", *dict.fromkeys(_WORD.findall(text.lower()))]
        found = (form for word in words for form in self._forms.get(word, ()))
        return sorted(found, key=lambda form: form.order)


class _Read(NamedTuple):
    """How many letters of a text are translated, by how many sentences and forms, and how it then reads."""

    letters: int
    pieces: int
    words: str

    def beats(self, other: "_Read") -> bool:
        return (self.letters, -self.pieces) > (other.letters, -other.pieces)


class _Reading:
    """One text on its way through the forms."""

    def __init__(self, sentences: Sentences) -> None:
        self._sentences = sentences
        self._left = TRIES
        self._known: dict[str, _Read] = {}

    def best(self, text: str) -> _Read:
        if text not in self._known:
            self._known[text] = _Read(0, 0, text)  # what it leads back to itself
            self._known[text] = self._best(text)
        return self._known[text]

    def _best(self, text: str) -> _Read:
        exact = self._sentences.exact(text)
        if exact is not None:
            return _Read(len(_LETTER.findall(text)), 1, exact)
        if not _SPACE.search(text) or not _LETTER.search(text):
            return _Read(0, 0, text)  # a name or a number: every form has a space in it
        found, letters = self._apart(text), len(_LETTER.findall(text))
        for form in self._sentences.forms(text):
            if found.letters == letters and self._left < TRIES // 2:
                break  # good enough for a text that has many readings
            values = form.values(text)
            if values is None:
                continue
            if self._left <= 0:
                break
            self._left -= 1
            inner = [
                _Read(0, 0, value) if quoted else self.best(value)
                for value, quoted in zip(values, form.quoted, strict=True)
            ]
            if form.weak and any(
                _PHRASE.search(value) and not each.letters and not quoted
                for value, each, quoted in zip(values, inner, form.quoted, strict=True)
            ):
                continue
            whole = _Read(
                form.letters + sum(each.letters for each in inner),
                1 + sum(each.pieces for each in inner),
                form.say(text, [each.words for each in inner]),
            )
            if whole.beats(found):
                found = whole
        if not found.letters and NBSP in text:
            spaced = text.replace(NBSP, " ")
            read = self.best(spaced)
            return found if read.words == spaced else read
        return found

    def _apart(self, text: str) -> _Read:
        """As sentences behind each other. Where one of them is translated, no space follows its full stop."""
        parts = _BETWEEN.split(text)
        if len(parts) == 1:
            return _Read(0, 0, text)
        read = [self.best(part) for part in parts]
        words = ""
        for _, _, part in read:
            spaced = words and words[-1].isascii() and "\n" not in (words[-1], part)
            words += f" {part}" if spaced else part
        return _Read(sum(each.letters for each in read), sum(each.pieces for each in read), words)


@cache
def _sentences(language: str) -> Sentences | None:
    """None for English, and for a language without a catalogue."""
    if language == settings.LANGUAGE_CODE:
        return None
    # The only way to all of a catalogue; Django's own JavaScriptCatalog goes it too.
    read = DjangoTranslation(language, domain=DOMAIN, localedirs=settings.LOCALE_PATHS)._catalog
    translations = {source: said for source, said in read.items() if source and said}
    return Sentences(translations) if translations else None


@lru_cache(maxsize=4096)
def _said(language: str, text: str) -> str:
    sentences = _sentences(language)
    return sentences.say(text) if sentences else text


def said(text: str) -> str:
    """A sentence of the domain or of a device in the language of now; in English, or unknown, `text` as it is.

    What is translated is plain text again: a template escapes it, also where `text` was marked safe. What prints as a
    sentence may be given too.
    """
    language = translation.get_language() or settings.LANGUAGE_CODE
    if language == settings.LANGUAGE_CODE:
        return text
    given = str(text)
    answer = _said(language, given)
    return text if answer == given else answer


def said_name(text: str) -> str:
    """The same for a name that is given from the start and that a person may change: word for word, or as it is."""
    sentences = _sentences(translation.get_language() or settings.LANGUAGE_CODE)
    return (sentences and sentences.exact(text)) or text


#: The same as `said` for what a module says once, as it is loaded: looked up each time it is shown.
said_later = lazy(said, str)
