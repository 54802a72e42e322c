"""Numbers as people read them. Pure: a value in, a figure out; what is not known says so and is never a zero."""

from dataclasses import dataclass

NOT_REPORTED = "not reported"
#: Between a number and its unit: keeps both on one line.
NBSP = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"

Number = float | int


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


def digits(value: Number) -> str:
    """Three significant digits below 100, none after the point above: 0.842, 5.52, 61.0, 118."""
    size = abs(value)
    if size >= 99.95:
        return f"{value:,.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    if size >= 0.9995 or size == 0:
        return f"{value:.2f}" if value % 1 else f"{value:.0f}"
    return f"{value:.3f}"


def milliseconds(value: Number | None) -> Figure:
    return UNKNOWN if value is None else Figure(digits(value), "ms")


def _scaled(value: Number, step: int, units: tuple[str, ...]) -> Figure:
    number, place = float(value), 0
    while abs(number) >= step and place < len(units) - 1:
        number /= step
        place += 1
    return Figure(f"{number:.0f}" if place == 0 else digits(number), units[place])


def file_size(value: Number | None) -> Figure:
    """Bytes of a file or a transfer, in powers of ten."""
    return UNKNOWN if value is None else _scaled(value, 1000, ("B", "kB", "MB", "GB", "TB"))


def memory_size(value: Number | None) -> Figure:
    """Bytes of memory, in powers of two."""
    return UNKNOWN if value is None else _scaled(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


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


def change(now: Number | None, before: Number | None) -> Figure:
    """How much larger or smaller `now` is than `before`, signed: −73 %."""
    if now is None or not before:
        return UNKNOWN
    moved = (now - before) / before * 100
    sign = MINUS if moved < 0 else "+"
    return Figure(f"{sign}{abs(moved):.0f}", "%")


def points(value: Number | None) -> Figure:
    """A difference of percentages, signed."""
    if value is None:
        return UNKNOWN
    sign = MINUS if value < 0 else ("+" if value > 0 else "")
    return Figure(f"{sign}{abs(value):.1f}", "points")


def duration(seconds: Number | None) -> str:
    """`4 s`, `12 min`, `3 h 5 min`, `2 d 4 h`."""
    if seconds is None:
        return NOT_REPORTED
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole < 600 and whole % 60 else "")
    if whole < 86_400:
        hours, rest = divmod(whole, 3600)
        return f"{hours} h" + (f" {rest // 60} min" if rest >= 60 else "")
    days, rest = divmod(whole, 86_400)
    return f"{days} d" + (f" {rest // 3600} h" if rest >= 3600 else "")
