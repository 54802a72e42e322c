"""Series for charts. Pure: which bucket a range gets, and where a line must break because nothing was measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from fleet.dashboard.figures import duration

#: No chart gets more points than this, whatever its range.
MAX_POINTS = 600


@dataclass(frozen=True, slots=True)
class Range:
    """A time range of a chart and how long one of its points covers, in seconds."""

    key: str
    label: str
    span: int
    bucket: int

    @property
    def window(self) -> int:
        """Seconds before a point that its success and cache rates are taken over: single episodes are no rate."""
        return max(self.span // 12, self.bucket)


RANGES = {
    chosen.key: chosen
    for chosen in (
        Range("15m", "15 min", 15 * 60, 2),
        Range("1h", "1 h", 3600, 10),
        Range("6h", "6 h", 6 * 3600, 60),
        Range("24h", "24 h", 24 * 3600, 180),
        Range("7d", "7 d", 7 * 24 * 3600, 1200),
    )
}
DEFAULT_RANGE = "1h"

Row = dict[str, float | None]


def note(chosen: Range) -> str:
    """What one point of this range stands for."""
    return (
        f"Each point covers {duration(chosen.bucket)}: the mean, for p95 and temperature the highest. "
        f"Success and cache hits are those of the {duration(chosen.window)} before."
    )


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


def with_breaks(rows: Sequence[Row], bucket: int) -> list[Row]:
    """`rows` (each with `at`, Unix milliseconds, rising) with empty rows where the measuring stopped and began again.

    Two of them, so that stacked areas end and begin upright. It stopped when a distance is more than three times the
    usual (median) one and more than three buckets.
    """
    distances = sorted(_at(after) - _at(before) for before, after in pairwise(rows))
    if not distances:
        return list(rows)
    limit = 3 * max(distances[len(distances) // 2], bucket * 1000)
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
    return {name: [_rounded(row[name]) for row in rows] for name in ("at", *names)}


def _rounded(value: float | None) -> float | None:
    return value if value is None or value == int(value) else round(value, 4)
