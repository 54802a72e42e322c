"""How large something is and how long, in the same words on pages, in events and in reasons. Pure: numbers to words.

Files and what is transferred count in powers of ten, as browsers and file managers do. What a device has, its memory
and its storage, counts in powers of two: boards are sold and declared that way, and 32 GiB reads the same in both rows.
"""

#: Between a number and its unit: keeps both on one line.
NBSP = "\N{NO-BREAK SPACE}"

Number = float | int
Sized = tuple[str, str]


def digits(value: Number) -> str:
    """Three significant digits below 100, none after the point above: 0.842, 5.52, 61.4, 118. A whole one has none."""
    size = abs(value)
    if size >= 99.95 or value % 1 == 0:
        return f"{value:,.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    if size >= 0.9995:
        return f"{value:.2f}"
    return f"{value:.3f}"


def file_size(value: Number) -> Sized:
    """Bytes of a file or a transfer: a number and its unit."""
    return _scaled(value, 1000, ("B", "kB", "MB", "GB", "TB"))


def capacity(value: Number) -> Sized:
    """Bytes of memory or of a device's storage: a number and its unit."""
    return _scaled(value, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def file_words(value: Number) -> str:
    """`5.78 MB`, for a sentence."""
    return " ".join(file_size(value))


def rate_words(value: Number) -> str:
    """Bytes a second, also as bits, which links are sold by: `20 MB/s (160 Mbit/s)`."""
    size, unit = file_size(value)
    bits, name = _scaled(8 * value, 1000, ("bit", "kbit", "Mbit", "Gbit", "Tbit"))
    return f"{size}{NBSP}{unit}/s ({bits}{NBSP}{name}/s)"


def duration(seconds: Number) -> str:
    """`4 s`, `12 min`, `3 h 5 min`, `2 d 4 h`."""
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


def _scaled(value: Number, step: int, units: tuple[str, ...]) -> Sized:
    number, place = float(value), 0
    while abs(number) >= step and place < len(units) - 1:
        number /= step
        place += 1
    return (f"{number:.0f}" if place == 0 else digits(number)), units[place]
