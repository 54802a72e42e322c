"""Two sides of a comparison: what can be told of each, how they differ, and when there is too little to tell. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext

from fleet.dashboard import figures as say
from fleet.dashboard.distribution import density, five, likelihood
from fleet.dashboard.figures import UNKNOWN, Figure
from fleet.dashboard.words import clauses, listed
from fleet.optimizer.statistics import wilson
from fleet.sentences import said
from fleet.telemetry.summary import Summary

#: A quantile is told when at least so many decisions lie beyond it, a success when so many episodes ended.
BEYOND, EPISODES = 10, 30
#: Sketches are right within 2 %, so neighbouring bins are 4.1 % apart: one bin is no difference, two are.
LATENCY_APART = 0.06
STEPS = 60
COLOURS = ("c1", "c3")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two. running: decisions by what decided them, classes: by device class, both as people say them.

    What is compared is no mix: it is left empty. simulated: of its devices at least one.
    """

    name: str
    url: str
    summary: Summary
    running: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    facts: tuple[str, ...] = ()
    simulated: bool = False

    @property
    def decisions(self) -> int:
        return int(self.summary.sums["decisions"])

    @property
    def timed(self) -> int:
        return sum(self.summary.bins.values())

    @property
    def episodes(self) -> int:
        return int(self.summary.sums["episodes"])

    @property
    def successes(self) -> int:
        return int(self.summary.sums["successes"])

    @property
    def interval(self) -> tuple[float, float] | None:
        return wilson(self.successes, self.episodes) if self.episodes else None

    def latency(self, share: float) -> float | None:
        """None also where too few decisions lie beyond it."""
        return self.summary.latency(share) if self.timed * (1 - share) >= BEYOND else None

    def rate(self, name: str) -> float | None:
        return say.share(self.summary.sums[name], self.decisions)


@dataclass(frozen=True, slots=True)
class Line:
    """A figure of both sides; apart is how much the second one has more, better whether that is good."""

    name: str
    values: tuple[str, str]
    notes: tuple[str, str] = ("", "")
    apart: Figure = UNKNOWN
    better: bool | None = None


def lines(a: Side, b: Side) -> list[Line]:
    counts = Line(gettext("Decisions (n)"), (say.count(a.decisions), say.count(b.decisions)))
    made = [
        counts,
        *(
            _latency(gettext("Latency p{share}").format(share=f"{share * 100:.0f}"), a, b, share)
            for share in (0.5, 0.95, 0.99)
        ),
    ]
    return [
        *made,
        _energy(a, b),
        _success(a, b),
        _rate(gettext("Errors"), "errors", a, b),
        _rate("NaN", "not_finite", a, b),
    ]


def _latency(name: str, a: Side, b: Side, share: float) -> Line:
    both = a.latency(share), b.latency(share)
    words = tuple(_told(say.milliseconds(value), value, side) for value, side in zip(both, (a, b), strict=True))
    one, other = both
    if one is None or other is None or not one:
        return Line(name, (words[0], words[1]))
    moved = (other - one) / one
    better = None if alike(one, other) else moved < 0
    return Line(name, (words[0], words[1]), apart=say.signed_percent(moved), better=better)


def alike(one: float, other: float) -> bool:
    """Whether two latencies are the same as far as is known, whichever is the first."""
    return max(one, other) < min(one, other) * (1 + LATENCY_APART)


def _told(figure: Figure, value: float | None, side: Side) -> str:
    return str(figure) if value is not None else gettext("too few") if side.timed else gettext("none")


def _energy(a: Side, b: Side) -> Line:
    one, other = a.summary.energy, b.summary.energy
    notes = (_source(a), _source(b))
    moved = say.change(other, one)
    better = None if one is None or other is None or one == other else other < one
    return Line(
        gettext("Energy of an action, mean"), (str(say.joules(one)), str(say.joules(other))), notes, moved, better
    )


def _source(side: Side) -> str:
    return (said(side.summary.energy_source) or gettext("source not said")) if side.summary.energy is not None else ""


def _success(a: Side, b: Side) -> Line:
    values, notes = [], []
    for side in (a, b):
        values.append(str(say.percent(side.summary.success)) if side.episodes else gettext("no episode"))
        notes.append(_interval(side))
    one, other = a.summary.success, b.summary.success
    moved = UNKNOWN if one is None or other is None else say.points((other - one) * 100)
    better = None if one is None or other is None or overlap(a, b) else other > one
    return Line(gettext("Task success"), (values[0], values[1]), (notes[0], notes[1]), moved, better)


def _interval(side: Side) -> str:
    if side.interval is None:
        return ""
    low, high = side.interval
    return gettext("95 % interval {low} to {high}, of {episodes}").format(
        low=f"{low * 100:.1f}", high=f"{high * 100:.1f}", episodes=say.plural(side.episodes, "episode")
    )


def overlap(a: Side, b: Side) -> bool:
    """Whether the intervals of their successes have a part in common; then nothing is proven."""
    if a.interval is None or b.interval is None:
        return True
    return a.interval[0] <= b.interval[1] and b.interval[0] <= a.interval[1]


def _rate(name: str, counter: str, a: Side, b: Side) -> Line:
    values = tuple(
        gettext("none") if not side.summary.sums[counter] else f"{side.summary.sums[counter]:,.0f}" for side in (a, b)
    )
    shares = [side.rate(counter) for side in (a, b)]
    notes = tuple(
        "" if not share else gettext("{share} of its decisions").format(share=say.nearly(share, 3)) for share in shares
    )
    one, other = shares
    better = None if one is None or other is None or one == other else other < one
    return Line(name, (values[0], values[1]), (notes[0], notes[1]), better=better)


# --- In words -------------------------------------------------------------------------------------------------------


def verdict(a: Side, b: Side) -> str:
    """One sentence about latency, energy and success of the second against the first."""
    few = [
        gettext("{name} has {decisions}").format(name=side.name, decisions=say.plural(side.timed, "decision"))
        for side in (a, b)
        if side.latency(0.95) is None
    ]
    if few:
        wanted = round(BEYOND / (1 - 0.95))
        return gettext("Too few decisions to tell: {few} in this time, and {wanted} are wanted of each.").format(
            few=gettext(" and ").join(few), wanted=wanted
        )
    parts = [_faster(a, b), _thriftier(a, b), _surer(a, b)]
    return gettext("{clauses}.").format(clauses=clauses(filter(None, parts)))


def _faster(a: Side, b: Side) -> str:
    one, other = a.latency(0.95) or 0.0, b.latency(0.95) or 0.0
    if alike(one, other):
        words = gettext("{name} takes the same time: p95 {b} against {a}")
    elif other < one:
        words = gettext("{name} is faster: p95 {b} against {a}")
    else:
        words = gettext("{name} is slower: p95 {b} against {a}")
    return words.format(name=b.name, b=say.milliseconds(other), a=say.milliseconds(one))


def _thriftier(a: Side, b: Side) -> str:
    one, other = a.summary.energy, b.summary.energy
    if not one or not other:
        return ""
    moved = (other - one) / one
    if abs(moved) < 0.02:
        return gettext("they need the same energy")
    words = gettext("it needs {percent} % less energy") if moved < 0 else gettext("it needs {percent} % more energy")
    return words.format(percent=f"{abs(moved) * 100:.0f}")


def _surer(a: Side, b: Side) -> str:
    if min(a.episodes, b.episodes) < EPISODES:
        return gettext("too few episodes ended to compare success")
    if overlap(a, b):
        return gettext("no difference in success is proven, for the intervals overlap")
    more = (b.summary.success or 0) > (a.summary.success or 0)
    return gettext("it succeeds more often") if more else gettext("it succeeds less often")


#: A mix of classes or variants is another one when a part of it differs by more than so much.
MIX_APART = 0.1


def cautions(a: Side, b: Side) -> list[str]:
    """What else differs between the two, and would make the figures differ, too."""
    found = []
    if _apart(a.classes, b.classes):
        found.append(gettext("Their devices differ: {a}; {b}.").format(a=_mix(a, a.classes), b=_mix(b, b.classes)))
    if _apart(a.running, b.running):
        found.append(gettext("They run different things: {a}; {b}.").format(a=_mix(a, a.running), b=_mix(b, b.running)))
    if a.facts != b.facts:
        known, other = (listed(side.facts) or gettext("nothing known") for side in (a, b))
        found.append(gettext("{a}: {known}. {b}: {other}.").format(a=a.name, known=known, b=b.name, other=other))
    if simulated := [side.name for side in (a, b) if side.simulated]:
        found.append(
            gettext("Simulated devices decide in the time of the computer that they are simulated on: {names}.").format(
                names=listed(simulated)
            )
        )
    sources = {_source(side) for side in (a, b)} - {""}
    if len(sources) > 1:
        told = clauses(gettext("{name} {of_it}").format(name=side.name, of_it=_source(side)) for side in (a, b))
        found.append(gettext("Their energy is not of one kind: {sources}.").format(sources=told))
    return found


def _apart(one: Counter[str], other: Counter[str]) -> bool:
    if not one.total() or not other.total():
        return False
    return any(abs(one[name] / one.total() - other[name] / other.total()) > MIX_APART for name in {*one, *other})


def _mix(side: Side, parts: Counter[str]) -> str:
    total = parts.total()
    named = [f"{name} {count / total * 100:.0f} %" for name, count in parts.most_common(3)]
    rest = len(parts) - len(named)
    words = gettext("{name} {of_it} and {rest} more") if rest else gettext("{name} {of_it}")
    return words.format(name=side.name, of_it=listed(named), rest=rest)


# --- Drawn ----------------------------------------------------------------------------------------------------------

Plot = dict[str, Any]


def latency_chart(a: Side, b: Side, promise_ms: float) -> Plot | None:
    """Both distributions over milliseconds, against the promise; None where nothing was decided."""
    sides = [(side, colour) for side, colour in zip((a, b), COLOURS, strict=True) if side.timed]
    if not sides:
        return None
    top = max(promise_ms * 1.2, *((side.summary.latency(0.995) or 0.0) * 1.1 for side, _ in sides))
    width = top / STEPS
    traces = []
    for side, colour in sides:
        shares = density(side.summary.bins, width, STEPS)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": _plain(side.name),
                "x": [round((step + 0.5) * width, 3) for step in range(STEPS)],
                "y": shares,
                "line": {"color": f"var(--{colour})", "width": 2, "shape": "hvh"},
                "fill": "tozeroy",
                "fillcolor": f"var(--{colour}-area)",
                "hovertemplate": gettext("%{y:.2f} % of its decisions"),
            }
        )
    layout = {
        "xaxis": {"title": {"text": gettext("Latency of a decision (ms)")}, "range": [0, top], "hoverformat": ".3~g"},
        "yaxis": {"title": {"text": gettext("Decisions in {width} ms (%)").format(width=f"{width:.2g}")}},
        "margin": {"b": 40, "t": 18},
        "shapes": [_line(promise_ms)],
        "annotations": [_words(promise_ms, gettext("{limit} ms promise").format(limit=f"{promise_ms:g}"))],
    }
    return {"data": traces, "layout": layout}


def energy_chart(a: Side, b: Side) -> Plot | None:
    """The mean energy of an action in each roll-up: where the middle half of them lies, and 90 %."""
    sides = [(side, colour) for side, colour in zip((a, b), COLOURS, strict=True) if side.summary.energies]
    if not sides:
        return None
    traces = []
    for side, colour in sides:
        low, q1, median, q3, high = five(side.summary.energies)
        box = {"lowerfence": [low], "q1": [q1], "median": [median], "q3": [q3], "upperfence": [high]}
        traces.append(
            {
                "type": "box",
                "name": _plain(side.name),
                "y": [_short(side.name)],
                "orientation": "h",
                "line": {"color": f"var(--{colour})", "width": 1.5},
                "fillcolor": f"var(--{colour}-area)",
                "hoverinfo": "x",
                **box,
            }
        )
    layout = {
        "hovermode": "closest",
        "xaxis": {"title": {"text": gettext("Joules of an action")}, "rangemode": "tozero", "hoverformat": ".3~g"},
        "yaxis": {"autorange": "reversed", "showgrid": False},
        "margin": {"b": 40},
    }
    return {"data": traces, "layout": layout}


def success_chart(a: Side, b: Side) -> Plot | None:
    """How likely each share of success is, after the episodes that ended."""
    sides = [(side, colour) for side, colour in zip((a, b), COLOURS, strict=True) if side.episodes]
    if not sides:
        return None
    ends = [end for side, _ in sides for end in (side.interval or (0.0, 1.0))]
    room = max((max(ends) - min(ends)) * 0.6, 0.01)
    low, high = max(min(ends) - room, 0.0), min(max(ends) + room, 1.0)
    shares = [low + (high - low) * step / 120 for step in range(121)]
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": _plain(side.name),
            "x": [round(share * 100, 3) for share in shares],
            "y": likelihood(side.successes, side.episodes, shares),
            "line": {"color": f"var(--{colour})", "width": 2},
            "fill": "tozeroy",
            "fillcolor": f"var(--{colour}-area)",
            "hoverinfo": "skip",
        }
        for side, colour in sides
    ]
    layout = {
        "xaxis": {"title": {"text": gettext("Task success (%)")}, "range": [low * 100, high * 100]},
        "yaxis": {"title": {"text": gettext("How likely")}, "showticklabels": False},
        "margin": {"b": 40},
        "hovermode": False,
    }
    return {"data": traces, "layout": layout}


def _line(at: float) -> Plot:
    dashed = {"color": "var(--bad-fill)", "width": 1.5, "dash": "dash"}
    return {"type": "line", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1, "line": dashed}


def _words(at: float, text: str) -> Plot:
    font = {"color": "var(--bad)", "size": 11}
    return {"x": at, "y": 1, "yref": "paper", "yanchor": "bottom", "text": text, "showarrow": False, "font": font}


def _short(name: str) -> str:
    return _plain(name if len(name) <= 24 else name[:23] + "…")


def _plain(name: str) -> str:
    """Plotly reads a few HTML tags in text: a name is never one."""
    return name.replace("&", "&amp;").replace("<", "&lt;")
