"""A ruler with a limit on it: measures are drawn against what was promised. Pure geometry, in shares of the width."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on the ruler: x in percent of its width, anchor for the text."""

    x: str
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Ruler:
    """From 0 to `top`, with the limit somewhere in between."""

    top: float
    limit: float
    ticks: tuple[Tick, ...]

    def percent(self, value: float) -> str:
        """Where a value lies, as percent of the width for SVG; never beyond the end."""
        return f"{min(max(value / self.top, 0.0), 1.0) * 100:.2f}"

    @property
    def limit_x(self) -> str:
        return self.percent(self.limit)


def ruler(limit: float, values: Iterable[float] = (), unit: str = "ms", steps: int = 6) -> Ruler:
    """A ruler on which the limit and every value fit, cut into `steps` round parts."""
    highest = max([limit * 1.2, *(value * 1.1 for value in values)])
    step = _round_up(highest / steps)
    top = step * steps
    ticks = tuple(
        Tick(
            f"{number / steps * 100:.2f}",
            f"{step * number:g}" + (f" {unit}" if number == steps else ""),
            "start" if number == 0 else "end" if number == steps else "middle",
        )
        for number in range(steps + 1)
    )
    return Ruler(top, limit, ticks)


def _round_up(value: float) -> float:
    """The next 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** (len(f"{int(value)}") - 1) if value >= 1 else 0.1
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= value)
