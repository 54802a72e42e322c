"""Which trials nothing else beats, and the chart that shows it. Pure: figures in, a Plotly figure out."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from fleet.dashboard.figures import NBSP, file_size


@dataclass(frozen=True, slots=True)
class Point:
    """One trial: latency in ms (less is better), quality in percent (more is better), its interval, size in bytes."""

    name: str
    latency: float
    quality: float
    low: float | None = None
    high: float | None = None
    size: int | None = None
    won: bool = False
    usable: bool = True
    original: bool = False


def frontier(points: Sequence[Point]) -> list[Point]:
    """Those that no other point beats in both latency and quality, from the fastest on."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (point.latency, -point.quality)):
        if not kept or point.quality > kept[-1].quality:
            kept.append(point)
    return kept


def figure(points: Sequence[Point], quality: str, limit_ms: float) -> dict[str, Any]:
    """The chart: one mark for each point, as large as its file; the frontier as steps; the limit where it is near."""
    edge = frontier([point for point in points if point.usable])
    groups = (
        ("Gates not passed", [p for p in points if not p.usable], "x-thin-open", "var(--bad-fill)"),
        (
            "Beaten by another",
            [p for p in points if p.usable and p not in edge and not p.won],
            "circle-open",
            "var(--c6)",
        ),
        ("On the frontier", [p for p in edge if not p.won], "circle", "var(--c1)"),
        ("Chosen", [p for p in points if p.won], "star", "var(--c1)"),
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
    traces += [_trace(name, group, symbol, colour, points) for name, group, symbol, colour in groups if group]
    layout: dict[str, Any] = {
        "hovermode": "closest",
        "xaxis": {"title": {"text": "p95 (ms), lower is better"}, "range": [0, _reach(points, limit_ms)]},
        "yaxis": {"title": {"text": f"{quality}, higher is better"}, "rangemode": "normal"},
        "margin": {"l": 52, "r": 16, "t": 12, "b": 40},
    }
    if any(point.latency > limit_ms / 2 for point in points):
        layout["shapes"] = [
            {
                "type": "line",
                "x0": limit_ms,
                "x1": limit_ms,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "line": {"color": "var(--bad-fill)", "width": 1.5, "dash": "dash"},
            }
        ]
        layout["annotations"] = [
            {
                "x": limit_ms,
                "y": 1,
                "yref": "paper",
                "yanchor": "top",
                "xanchor": "left",
                "text": f" {limit_ms:g} ms promise",
                "showarrow": False,
                "font": {"color": "var(--bad)", "size": 11},
            }
        ]
    return {"data": traces, "layout": layout}


def _trace(name: str, points: Sequence[Point], symbol: str, colour: str, everyone: Sequence[Point]) -> dict[str, Any]:
    largest = max((point.size or 0 for point in everyone), default=0)
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": name,
        "x": [point.latency for point in points],
        "y": [point.quality for point in points],
        "text": [_plain(point.name) if _named(point, everyone) else "" for point in points],
        "textposition": ["bottom center" if point.won else "top center" for point in points],
        "cliponaxis": False,
        "textfont": {"size": 11, "color": "var(--text-2)"},
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
            "size": [_mark(point, largest) for point in points],
            "color": colour,
            "opacity": 1,
            "line": {"width": 1.5, "color": colour},
        },
        "customdata": [[_plain(point.name), str(file_size(point.size))] for point in points],
        "hovertemplate": f"%{{customdata[0]}}: %{{y:.2f}}{NBSP}% at %{{x:.3~g}}{NBSP}ms, %{{customdata[1]}}",
    }


def _reach(points: Sequence[Point], limit_ms: float) -> float:
    """How far the latency axis goes: room for the names, and for the limit where something comes near it."""
    slowest = max((point.latency for point in points), default=1.0)
    return max(slowest * 1.25, limit_ms * 1.1 if slowest > limit_ms / 2 else 0.0)


def _named(point: Point, everyone: Sequence[Point]) -> bool:
    """Whether its name is written beside it: the winner's and the original's always, others where nothing is near."""
    if point.won or point.original:
        return True
    height = max(other.quality for other in everyone) - min(other.quality for other in everyone)
    return not any(
        other is not point
        and abs(other.latency - point.latency) < 0.2 * max(other.latency, point.latency)
        and abs(other.quality - point.quality) < 0.15 * height
        for other in everyone
    )


def _plain(name: str) -> str:
    """Plotly reads a few HTML tags in text: a name is never one."""
    return name.replace("&", "&amp;").replace("<", "&lt;")


def _mark(point: Point, largest: int) -> float:
    """Pixels: the area goes with the file's size, and the least is still a mark."""
    share = (point.size or 0) / largest if largest else 0.0
    return round((16 if point.won else 8) + 10 * sqrt(share), 1)
