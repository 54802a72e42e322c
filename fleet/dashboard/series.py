"""Series for charts. Pure: which bucket a range gets, and where a line must break because nothing was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from django.utils.translation import gettext, gettext_lazy

from fleet.dashboard.figures import duration

#: No chart gets more points than this, whatever its range.
MAX_POINTS = 2000
SAMPLE, MINUTE, HOUR = 0, 60, 3600


@dataclass(frozen=True, slots=True)
class Range:
    """A time range of a chart and how long one of its points covers, in seconds.

    source: seconds of the roll-ups that it is drawn from; 0 for samples.
    """

    key: str
    label: str
    span: int
    bucket: int
    source: int

    @property
    def window(self) -> int:
        """Seconds before a point that its success and cache rates are taken over: single episodes are no rate."""
        return max(self.span // 12, self.bucket)


RANGES = {
    chosen.key: chosen
    for chosen in (
        Range("15m", gettext_lazy("15 min"), 15 * 60, 2, SAMPLE),
        Range("1h", gettext_lazy("1 h"), 3600, 10, SAMPLE),
        Range("6h", gettext_lazy("6 h"), 6 * 3600, 60, MINUTE),
        Range("24h", gettext_lazy("24 h"), 24 * 3600, 120, MINUTE),
        Range("7d", gettext_lazy("7 d"), 7 * 24 * 3600, 3600, HOUR),
        Range("30d", gettext_lazy("30 d"), 30 * 24 * 3600, 3600, HOUR),
        Range("90d", gettext_lazy("90 d"), 90 * 24 * 3600, 7200, HOUR),
    )
}
DEFAULT_RANGE = "1h"

#: Nobody needs less of it, and rows of a year are more than a chart can show.
SHORTEST, LONGEST = 30, 92 * 24 * 3600

Row = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class View:
    """What charts show, in Unix seconds. fixed: somebody zoomed, and it does not move on with the time."""

    chosen: Range
    start: float
    end: float
    fixed: bool = False

    @property
    def span(self) -> float:
        return self.end - self.start


def view_of(key: str, zoom: tuple[float, float] | None, now: float, kept: Mapping[int, float]) -> View:
    """The range called `key` up to now; or of `zoom` the finest that is kept so long and covers it.

    kept: seconds for which samples and roll-ups are kept, by their own seconds (0 for samples).
    """
    if zoom is None:
        chosen = RANGES[key]
        return View(chosen, now - chosen.span, now)
    start, end = zoom
    ranges = tuple(RANGES.values())
    fits = (one for one in ranges if one.span >= end - start and now - start <= kept[one.source])
    return View(next(fits, ranges[-1]), start, end, fixed=True)


def zoom_of(params: Mapping[str, str], now: float) -> tuple[float, float] | None:
    """`?from=&to=` in Unix milliseconds; None when they are no piece of time that charts can show."""
    given = [params.get(name, "") for name in ("from", "to")]
    if not all(text.isascii() and text.isdigit() and len(text) <= 14 for text in given):
        return None
    start, end = (int(text) / 1000 for text in given)
    return (start, end) if SHORTEST <= end - start <= LONGEST and start < now else None


def note(chosen: Range) -> str:
    """What one point of this range stands for."""
    quantiles = (
        gettext("for p95 the highest that was reported")
        if chosen.source == SAMPLE
        else gettext("p50 and p95 of all its decisions")
    )
    return gettext(
        "Each point covers {bucket}: the mean between the least and the greatest, {quantiles}. "
        "Success and cache hits are those of the {window} before."
    ).format(bucket=duration(chosen.bucket), quantiles=quantiles, window=duration(chosen.window))


def rolling(rows: Sequence[Row], part: str, whole: str, window: int) -> list[float | None]:
    """part / whole of each row and of those up to `window` seconds before it; None where there was no whole."""
    shares: list[float | None] = []
    first, parts, wholes = 0, 0.0, 0.0
    for row in rows:
        parts += row[part] or 0.0
        wholes += row[whole] or 0.0
        while _at(row) - _at(rows[first]) >= window * 1000:
            parts -= rows[first][part] or 0.0
            wholes -= rows[first][whole] or 0.0
            first += 1
        shares.append(parts / wholes if wholes else None)
    return shares


def with_breaks(rows: Sequence[Row], bucket: int, usual: float = 3) -> list[Row]:
    """`rows` (each with `at`, Unix milliseconds, rising) with empty rows where the measuring stopped and began again.

    Two of them, so that stacked areas end and begin upright. It stopped when a distance is more than `usual` times the
    median one and more than so many buckets.
    """
    distances = sorted(_at(after) - _at(before) for before, after in pairwise(rows))
    if not distances:
        return list(rows)
    limit = usual * max(distances[len(distances) // 2], bucket * 1000)
    made: list[Row] = [rows[0]]
    for before, after in pairwise(rows):
        if _at(after) - _at(before) > limit:
            nothing = dict.fromkeys(after)
            made.append(nothing | {"at": _at(before) + bucket * 1000})
            made.append(nothing | {"at": _at(after) - bucket * 1000})
        made.append(after)
    return made


def _at(row: Row) -> float:
    return row["at"] or 0.0


def columns(rows: Sequence[Row], names: Sequence[str]) -> dict[str, list[float | None]]:
    """Row by row into column by column, rounded to what a chart can show."""
    return {
        name: [value if value is None else round(value, 4) for value in (row[name] for row in rows)]
        for name in ("at", *names)
    }
