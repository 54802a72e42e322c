"""One figure of a benchmark, and the table of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Row:
    """value and goal in `unit`; baseline is what was measured beside it in the same run, ratio their quotient."""

    figure: str
    value: float | None
    unit: str
    goal: float
    better: Literal["lower", "higher"]
    baseline: float | None = None
    ratio: float | None = None
    n: int = 1
    met: bool = field(init=False)

    def __post_init__(self) -> None:
        reached = self.value is not None and (
            self.value <= self.goal if self.better == "lower" else self.value >= self.goal
        )
        object.__setattr__(self, "met", reached)


def table(rows: Sequence[Row]) -> str:
    head = ("figure", "value", "goal", "", "baseline", "n")
    body = [
        (
            row.figure,
            f"{_short(row.value)} {row.unit}",
            f"{'≤' if row.better == 'lower' else '≥'} {_short(row.goal)}",
            "met" if row.met else "not met",
            _short(row.baseline),
            str(row.n),
        )
        for row in rows
    ]
    return columns(head, body)


def columns(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Cells below each other, as wide as the widest."""
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in (head, *body)]
    return "\n".join(line.rstrip() for line in lines)


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
