"""Numbers as people read them: a value in, a figure out; what is not known says so and is never a zero."""

from dataclasses import dataclass

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from fleet import units
from fleet.sentences import said
from fleet.units import NBSP, Number, digits

NOT_REPORTED = _("not reported")
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number and its unit. An unknown one has no value, is false in a condition and prints as `not reported`."""

    value: str = ""
    unit: str = ""

    def __str__(self) -> str:
        if not self.value:
            return str(NOT_REPORTED)
        return f"{self.value}{NBSP}{self.unit}" if self.unit else self.value

    def __bool__(self) -> bool:
        return bool(self.value)


UNKNOWN = Figure()


def milliseconds(value: Number | None) -> Figure:
    return UNKNOWN if value is None else Figure(digits(value), "ms")


def file_size(value: Number | None) -> Figure:
    """Bytes of a file or a transfer, in powers of ten."""
    return UNKNOWN if value is None else Figure(*units.file_size(value))


def memory_size(value: Number | None) -> Figure:
    """Bytes of memory or of a device's storage, in powers of two."""
    return UNKNOWN if value is None else Figure(*units.capacity(value))


def percent(share: Number | None, places: int = 1) -> Figure:
    """A share from 0 to 1 as percent."""
    return UNKNOWN if share is None else Figure(f"{share * 100:.{places}f}", "%")


def nearly(share: Number | None, places: int = 1) -> Figure:
    """As percent, but never all or none where it is not: > 99.9 %, < 0.1 %."""
    if share is None or share in (0, 1):
        return percent(share, places)
    least = 10.0**-places
    if share * 100 < least / 2:
        return Figure(f"< {least:.{places}f}", "%")
    return Figure(f"> {100 - least:.{places}f}", "%") if (1 - share) * 100 < least / 2 else percent(share, places)


def share(part: Number | None, whole: Number | None) -> float | None:
    """part / whole; None when there is nothing to divide by."""
    if part is None or not whole:
        return None
    return part / whole


def celsius(value: Number | None) -> Figure:
    return UNKNOWN if value is None else Figure(f"{value:.0f}", "°C")


def watts(value: Number | None) -> Figure:
    return UNKNOWN if value is None else Figure(digits(value), "W")


def joules(value: Number | None) -> Figure:
    if value is None:
        return UNKNOWN
    size, unit = next((each for each in ((1e6, "MJ"), (1e3, "kJ"), (1, "J")) if value >= each[0]), (1e-3, "mJ"))
    return Figure(digits(value / size), unit)


def count(value: int | None) -> str:
    return str(NOT_REPORTED) if value is None else f"{value:,}"


def plural(number: int, word: str, words: str = "") -> str:
    """`1 device`, `2,418 devices`; in the language of now, which the gathered sentences know both forms in."""
    return said(f"{number:,} {word if number == 1 else words or word + 's'}")


def signed_percent(share: Number | None) -> Figure:
    """A share of change from −1 on, signed: −73 %."""
    if share is None:
        return UNKNOWN
    sign = MINUS if share < 0 else "+"
    return Figure(f"{sign}{abs(share) * 100:.0f}", "%")


def change(now: Number | None, before: Number | None) -> Figure:
    """How much larger or smaller `now` is than `before`, signed: −73 %."""
    if now is None or not before:
        return UNKNOWN
    return signed_percent((now - before) / before)


def points(value: Number | None) -> Figure:
    """A difference of percentages, signed."""
    if value is None:
        return UNKNOWN
    sign = MINUS if value < 0 else ("+" if value > 0 else "")
    return Figure(f"{sign}{abs(value):.1f}", gettext("points"))


def duration(seconds: Number | None) -> str:
    """`4 s`, `12 min`, `3 h 5 min`, `2 d 4 h`."""
    return str(NOT_REPORTED) if seconds is None else said(units.duration(seconds))
