"""Numbers as people read them. Pure: a value in, a figure out; what is not known says so and is never a zero."""

from dataclasses import dataclass

from fleet import units
from fleet.units import NBSP, Number, digits

NOT_REPORTED = "not reported"
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number and its unit. An unknown one has no value, is false in a condition and prints as `not reported`."""

    value: str = ""
    unit: str = ""

    def __str__(self) -> str:
        if not self.value:
            return NOT_REPORTED
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


def share(part: Number | None, whole: Number | None) -> float | None:
    """part / whole; None when there is nothing to divide by."""
    if part is None or not whole:
        return None
    return part / whole


def celsius(value: Number | None) -> Figure:
    return UNKNOWN if value is None else Figure(f"{value:.0f}", "°C")


def watts(value: Number | None) -> Figure:
    return UNKNOWN if value is None else Figure(digits(value), "W")


def count(value: int | None) -> str:
    return NOT_REPORTED if value is None else f"{value:,}"


def plural(number: int, word: str, words: str = "") -> str:
    """`1 device`, `2,418 devices`."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"


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
    return Figure(f"{sign}{abs(value):.1f}", "points")


def duration(seconds: Number | None) -> str:
    """`4 s`, `12 min`, `3 h 5 min`, `2 d 4 h`."""
    return NOT_REPORTED if seconds is None else units.duration(seconds)
