"""Which trials nothing else beats, and the chart that shows it. Pure: figures in, a Plotly figure out."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from django.utils.translation import gettext

from fleet.dashboard.figures import file_size
from fleet.dashboard.placement import Mark, places
from fleet.units import NBSP


@dataclass(frozen=True, slots=True)
class Point:
    """One trial: latency in ms (less is better), quality in percent (more is better), its interval, size in bytes.

    number is its label in the chart: the table beside it has the names, which are too long to stand between marks.
    """

    name: str
    latency: float
    quality: float
    low: float | None = None
    high: float | None = None
    size: int | None = None
    won: bool = False
    usable: bool = True
    original: bool = False
    number: int = 0


@dataclass(frozen=True, slots=True)
class Gate:
    """The success in percent that a trial must have, `allowed` points below the original's.

    whole: the whole 95 % interval must be above it, and not only the measured success.
    """

    least: float
    allowed: float
    whole: bool

    @property
    def line(self) -> str:
        """The few words at the line."""
        said = gettext("intervals above {least} %") if self.whole else gettext("success above {least} %")
        return said.format(least=f"{self.least:.1f}")

    @property
    def words(self) -> str:
        """What it asks for, as a sentence."""
        points = (
            gettext("{points} point below the original")
            if self.allowed == 1
            else gettext("{points} points below the original")
        )
        points = points.format(points=f"{self.allowed:g}")
        if self.whole:
            return gettext(
                "The whole bar must stay above the line, {points}: it must be proven that no more is lost."
            ).format(points=points)
        return gettext("The mark must stay above the line, {points}; its bar may reach below.").format(points=points)


def frontier(points: Sequence[Point]) -> list[Point]:
    """Those that no other point beats in both latency and quality, from the fastest on."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (point.latency, -point.quality)):
        if not kept or point.quality > kept[-1].quality:
            kept.append(point)
    return kept


def figure(points: Sequence[Point], quality: str, limit_ms: float, gate: Gate | None = None) -> dict[str, Any]:
    """The chart: one mark for each point, as large as its file; the frontier as steps; both gates as dashed lines."""
    edge = frontier([point for point in points if point.usable])
    box = box_of(points, limit_ms, gate)
    where = dict(zip(points, places(_marks(points, box)), strict=True))
    groups = (
        (gettext("Gates not passed"), [p for p in points if not p.usable], "x-thin-open", "var(--bad-fill)"),
        (
            gettext("Beaten by another"),
            [p for p in points if p.usable and p not in edge and not p.won],
            "circle-open",
            "var(--c6)",
        ),
        (gettext("On the frontier"), [p for p in edge if not p.won], "circle", "var(--c1)"),
        (gettext("Chosen"), [p for p in points if p.won], "star", "var(--c1)"),
    )
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [point.latency for point in edge],
            "y": [point.quality for point in edge],
            "line": {"color": "var(--c1)", "width": 1.5, "shape": "hv"},
            "hoverinfo": "skip",
        }
    ]
    largest = max((point.size or 0 for point in points), default=0)
    traces += [_trace(name, group, symbol, colour, largest, where) for name, group, symbol, colour in groups if group]
    shapes, words = _gates(points, box, limit_ms, gate)
    layout: dict[str, Any] = {
        "hovermode": "closest",
        "xaxis": {"title": {"text": gettext("p95 (ms), lower is better")}, "range": [box.left, box.right]},
        "yaxis": {
            "title": {"text": gettext("{quality}, higher is better").format(quality=quality)},
            "range": [box.low, box.high],
        },
        "margin": {"l": 52, "r": 16, "t": 12, "b": 40},
        "shapes": shapes,
        "annotations": words,
    }
    return {"data": traces, "layout": layout}


@dataclass(frozen=True, slots=True)
class Box:
    """What the axes show: milliseconds from left to right, percent from low to high."""

    left: float
    right: float
    low: float
    high: float


def box_of(points: Sequence[Point], limit_ms: float, gate: Gate | None) -> Box:
    """Room for every mark, its interval and its label. The gates are in it where that does not flatten the rest."""
    times = [point.latency for point in points]
    fastest, slowest = min(times, default=0.0), max(times, default=1.0)
    if slowest > limit_ms / 2:
        slowest = max(slowest, limit_ms)
    # Differences below a tenth of the latency must not look like much.
    side = max(slowest - fastest, slowest / 10) * 0.15
    ends = [end for point in points for end in (point.low, point.quality, point.high) if end is not None]
    low, high = min(ends, default=0.0), max(ends, default=100.0)
    if gate is not None:
        low, high = min(low, gate.least), max(high, gate.least)
    room = max(high - low, 0.01) * 0.12
    return Box(max(fastest - side, 0.0), slowest + side, low - room, high + room)


def _marks(points: Sequence[Point], box: Box) -> list[Mark]:
    largest = max((point.size or 0 for point in points), default=0)

    def down(quality: float) -> float:
        return (box.high - quality) / (box.high - box.low)

    return [
        Mark(
            (point.latency - box.left) / (box.right - box.left),
            down(point.quality),
            down(point.quality if point.high is None else point.high),
            down(point.quality if point.low is None else point.low),
            _size(point, largest),
            _label(point),
        )
        for point in points
    ]


def _free_end(points: Sequence[Point], box: Box, least_quality: float) -> tuple[int, str, str]:
    """Where the success gate's words are least in the way: an end of the line, below it or else above it."""
    line = (box.high - box.low) * 0.08

    def crowd(spot: tuple[int, str, str]) -> int:
        end, bottom = (box.right if spot[0] else box.left), least_quality - (line if spot[2] == "top" else 0)
        return sum(
            abs(point.latency - end) < (box.right - box.left) * 0.4
            and (point.quality if point.low is None else point.low) < bottom + line
            and (point.quality if point.high is None else point.high) > bottom
            for point in points
        )

    return min([(1, "right", "top"), (0, "left", "top"), (1, "right", "bottom"), (0, "left", "bottom")], key=crowd)


def _gates(points: Sequence[Point], box: Box, limit_ms: float, gate: Gate | None) -> tuple[list[dict], list[dict]]:
    """The lines that a trial must stay on the good side of, what lies on the good side of both, and their words."""
    shapes, words = [], []
    dashed = {"color": "var(--bad-fill)", "width": 1.5, "dash": "dash"}
    near = limit_ms < box.right
    if near:
        shapes.append(
            {"type": "line", "x0": limit_ms, "x1": limit_ms, "yref": "paper", "y0": 0, "y1": 1, "line": dashed}
        )
    promise = gettext("{limit} ms allowed").format(limit=f"{limit_ms:g}")
    # Far to the right it is no line that one could see: the words say on which side it is.
    words.append(
        _said(f"{promise} ", limit_ms, 1, "right", "top", yref="paper")
        if near
        else _said(f"{promise} →", 1, 0, "right", "bottom", xref="paper", yref="paper")
    )
    if gate is not None:
        line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": gate.least, "y1": gate.least}
        shapes.append({**line, "line": dashed})
        end, across, down = _free_end(points, box, gate.least)
        words.append(_said(gate.line, end, gate.least, across, down, xref="paper"))
        good = {"type": "rect", "x0": box.left, "x1": min(limit_ms, box.right), "y0": gate.least, "y1": box.high}
        shapes.append({**good, "layer": "below", "line": {"width": 0}, "fillcolor": "var(--ok-tint)", "opacity": 0.6})
        passes = gettext("passes with its whole bar here") if gate.whole else gettext("passes both gates")
        words.append(_said(f" {passes}", 0, 1, "left", "top", "var(--ok)", xref="paper", yref="paper"))
    return shapes, words


def _said(
    text: str, x: float, y: float, across: str, down: str, colour: str = "var(--bad)", **refs: str
) -> dict[str, Any]:
    font = {"color": colour, "size": 11}
    return {"text": text, "x": x, "y": y, "xanchor": across, "yanchor": down, "showarrow": False, "font": font, **refs}


def _trace(
    name: str, points: Sequence[Point], symbol: str, colour: str, largest: int, where: dict[Point, str]
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": name,
        "x": [point.latency for point in points],
        "y": [point.quality for point in points],
        "text": [_label(point) for point in points],
        "textposition": [where[point] for point in points],
        "cliponaxis": False,
        "textfont": {"size": 11, "color": "var(--text)"},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [0 if point.high is None else point.high - point.quality for point in points],
            "arrayminus": [0 if point.low is None else point.quality - point.low for point in points],
            "thickness": 1,
            "width": 0,
            "color": "var(--line-ctl)",
        },
        "marker": {
            "symbol": symbol,
            "size": [_size(point, largest) for point in points],
            "color": colour,
            "opacity": 1,
            "line": {"width": 1.5, "color": colour},
        },
        "customdata": [[_plain(point.name), str(file_size(point.size)), _between(point)] for point in points],
        "hovertemplate": (
            gettext("{name}: {quality}{interval} at {latency}, {size}").format(
                name="%{customdata[0]}",
                quality=f"%{{y:.2f}}{NBSP}%",
                interval="%{customdata[2]}",
                latency=f"%{{x:.3~g}}{NBSP}ms",
                size="%{customdata[1]}",
            )
        ),
    }


def _label(point: Point) -> str:
    return str(point.number) if point.number else ""


def _between(point: Point) -> str:
    return (
        ""
        if point.low is None or point.high is None
        else gettext(" (95 % interval {low} to {high})").format(low=f"{point.low:.1f}", high=f"{point.high:.1f}")
    )


def _plain(name: str) -> str:
    """Plotly reads a few HTML tags in text: a name is never one."""
    return name.replace("&", "&amp;").replace("<", "&lt;")


def _size(point: Point, largest: int) -> float:
    """Pixels: the area goes with the file's size, and the least is still a mark."""
    share = (point.size or 0) / largest if largest else 0.0
    return round((16 if point.won else 8) + 10 * sqrt(share), 1)
