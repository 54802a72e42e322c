"""Figures drawn as SVG: bars in percent of the width, rulers with a limit. No inline style is ever needed."""

from collections.abc import Iterable
from math import isfinite

from django import template
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from fleet.dashboard import figures
from fleet.dashboard.scale import Ruler, ruler
from fleet.dashboard.selectors.progress import KINDS
from fleet.dashboard.words import clauses, listed, word
from fleet.sentences import said

register = template.Library()

#: The stages of a planned decision, in the order in which they are stacked.
PLAN_STAGES = {"compute": "c1", "transmit": "c4", "network": "c2", "other": "c6"}


@register.simple_tag
def bar(parts: Iterable[tuple[str, float]], label: str, classes: str = "") -> SafeString:
    """A stacked bar. parts: (fill, share from 0 to 1) from left to right; nothing is drawn beyond the whole."""
    rects, left = [], 0.0
    for fill, part in parts:
        width = min(max(part, 0.0), 1.0 - left)
        if width > 0:
            rects.append((f"{left * 100:.3f}", f"{width * 100:.3f}", fill))
        left += width
    drawn = format_html_join("", '<rect x="{}%" y="0" width="{}%" class="f-{}"/>', rects)
    return format_html('<svg class="bar {}" role="img" aria-label="{}">{}</svg>', classes, label, drawn)


@register.simple_tag
def progress(share: float | None, label: str = "", fill: str = "accent", classes: str = "") -> SafeString:
    whole = min(max(share or 0.0, 0.0), 1.0)
    return bar([(fill, whole)], label or f"{whole:.0%}", classes)


@register.simple_tag
def cellbar(value: float | None, limit: float) -> SafeString:
    """A measure of a table row against its limit; the tick stands at the limit, the bar ends at 1.25 times of it."""
    if value is None:
        return SafeString("")
    share = min(value / (limit * 1.25), 1.0)
    fill = "bad" if value > limit else "warn" if value > limit * 0.9 else "accent"
    return format_html(
        '<svg class="cellbar" aria-hidden="true"><rect class="bg" width="100%" height="6" rx="1"/>'
        '<rect class="f-{}" width="{}%" height="6" rx="1"/><rect class="tick" x="80%" width="1" height="6"/></svg>',
        fill,
        f"{share * 100:.1f}",
    )


@register.inclusion_tag("parts/scale.html")
def scale(limit: float, limit_label: str, *bars: float | None, **labels: str) -> dict[str, object]:
    """Measures in ms against a limit: `{% scale 100 "promise" mean p95 one="mean" two="p95" %}`."""
    names = [labels.get("one", ""), labels.get("two", "")]
    known = [(name, value) for name, value in zip(names, bars, strict=False) if value is not None]
    measured = ruler(limit, [value for _, value in known])
    drawn = [
        {
            "label": name,
            "y": 26 + number * 40,
            "width": measured.percent(value),
            "value": figures.milliseconds(value),
            "fill": "bad" if value > limit else "accent",
        }
        for number, (name, value) in enumerate(known)
    ]
    return {
        "ruler": measured,
        "bars": drawn,
        "limit_label": limit_label,
        "bottom": 20 + len(drawn) * 40,
        "height": 44 + len(drawn) * 40,
        "label": clauses(f"{bar['label']} {bar['value']}" for bar in drawn)
        + gettext("; limit {limit} ms").format(limit=f"{limit:g}"),
    }


@register.inclusion_tag("parts/plan_bars.html")
def plan_bars(plan) -> dict[str, object]:
    """Each mode's latency by stage against the limit; a mark stands at the longest way, where that is another."""
    limit = plan.situation.latency_limit
    ends = [end for each in plan.modes for end in (each.latency.total, each.worst_ms)]
    measured = ruler(limit, [end for end in ends if end is not None and isfinite(end)])
    drawn = [_plan_bar(each, 26 + number * 40, measured) for number, each in enumerate(plan.modes)]
    return {
        "ruler": measured,
        "bars": drawn,
        "bottom": 20 + len(drawn) * 40,
        "height": 44 + len(drawn) * 40,
        "label": clauses(f"{bar['label']} {bar['value']}" for bar in drawn)
        + gettext("; limit {limit} ms").format(limit=f"{limit:g}"),
    }


def _plan_bar(each, y: int, measured: Ruler) -> dict[str, object]:
    latency, total, worst = each.latency, each.latency.total, each.worst_ms
    parts, left = [], 0.0
    if total is not None and isfinite(total):
        for name, fill in PLAN_STAGES.items():
            width = getattr(latency, name)
            parts.append({"x": measured.percent(left), "width": measured.percent(width), "fill": fill})
            left += width
    apart = total is not None and worst is not None and isfinite(worst) and worst > total
    value = (
        gettext("not known")
        if total is None
        else figures.milliseconds(total)
        if isfinite(total)
        else gettext("never: no network")
    )
    words = (
        gettext("{value} on average, {worst} at the longest").format(value=value, worst=figures.milliseconds(worst))
        if apart
        else str(value)
    )
    mark = measured.percent(worst) if apart else ""
    return {"label": said(each.mode.capitalize()), "y": y, "parts": parts, "worst": mark, "value": words}


@register.simple_tag
def stage_bar(budget) -> SafeString:
    """The mean decision of a device, cut into its stages."""
    parts = [(stage.fill, stage.milliseconds / budget.total if budget.total else 0.0) for stage in budget.stages]
    label = listed(f"{said(stage.name)} {figures.milliseconds(stage.milliseconds)}" for stage in budget.stages)
    return bar(parts, label, "lg")


@register.simple_tag
def success_interval(measured, axis: tuple[float, float], said: int | None = None) -> SafeString | str:
    """Task success with its interval and its number of episodes, in words and drawn on `axis` (shares from, to).

    said is a number of episodes that already stands beside it and need not be written again.
    """
    if measured is None or measured.success is None:
        return figures.NOT_REPORTED
    words = format_html("<b>{}</b>", figures.percent(measured.success))
    if measured.low is None or measured.high is None:
        counted = gettext("{count} episodes").format(count=figures.count(measured.episodes))
        return format_html('{} <small class="faint">{}</small>', words, counted)
    episodes = "" if said and said == measured.episodes else f", n = {figures.count(measured.episodes)}"
    return format_html(
        '{} <small class="faint">{}–{}{}</small><svg class="ci" role="img" aria-label="{}">'
        '<line class="ax" x1="0" x2="100%" y1="6" y2="6"/><line class="rg" x1="{}%" x2="{}%" y1="6" y2="6"/>'
        '<circle cx="{}%" cy="6" r="3.5"/></svg>',
        words,
        figures.percent(measured.low).value,
        figures.percent(measured.high).value,
        episodes,
        gettext("between {low} and {high}").format(
            low=figures.percent(measured.low), high=figures.percent(measured.high)
        ),
        *(_on_axis(share, axis) for share in (measured.low, measured.high, measured.success)),
    )


def _on_axis(share: float, axis: tuple[float, float]) -> str:
    low, high = axis
    return f"{min(max((share - low) / (high - low or 1.0) * 100, 0), 100):.1f}"


@register.simple_tag
def share_bar(part: int, whole: int, fill: str = "pending") -> SafeString:
    share = figures.share(part, whole) or 0.0
    return bar([(fill, share)], f"{share:.0%}", "thin")


#: How a device's connection is drawn (fleet.devices.liveness).
CONNECTION = {"online": "ok", "silent": "warn", "offline": "offline", "never": "pending"}


@register.simple_tag
def state_bar(line) -> SafeString:
    """The devices of a class by their connection."""
    parts = [(CONNECTION[state], figures.share(count, line.total) or 0.0) for state, count in line.states.items()]
    said = listed(f"{word('liveness', state).label.lower()} {count:,}" for state, count in line.states.items())
    return bar(parts, said, "thin")


@register.simple_tag
def spread_bar(lines) -> SafeString:
    """How many devices run which variant, as one bar."""
    said = listed(f"{line.name} {line.share:.0%}" for line in lines)
    return bar([(line.fill, line.share) for line in lines], said, "lg")


@register.simple_tag
def saved_bars(used) -> SafeString:
    """What was sent, as a part of what a cloud would have been sent."""
    sent = figures.share(used.sent, used.would) or 0.0
    said = gettext("{sent} were sent instead of {would}").format(
        sent=figures.file_size(used.sent), would=figures.file_size(used.would)
    )
    return bar([("c3", sent)], said, "lg")


@register.simple_tag
def squares(devices) -> SafeString:
    """The map of a rollout: one link for each device, written short because there may be thousands.

    The title is its name for eyes and for screen readers. Only the first one is a stop of the Tab key; arrows move on.
    """
    devices_page = reverse("devices")
    return format_html_join(
        "\n",
        '<a id="sq-{}" class="{}" href="{}/{}" title="{}" tabindex="{}"></a>',
        (
            (square.device_id, square.cell, devices_page, square.device_id, square.label, -1 if number else 0)
            for number, square in enumerate(devices)
        ),
    )


#: Squares in a row of a grid, and the pitch of one in the drawing's own units.
GRID_COLUMNS, PITCH = 125, 8


@register.simple_tag
def grid(progress, phase: int, first: bool) -> SafeString:
    """Every device of a phase as a square, in the order of the bar, however many there are.

    Devices of one kind lie together, so a kind is three rectangles at most, filled with a pattern of squares; each is a
    link to its devices in the table.
    """
    kinds = [(kind, progress.counts[kind.key]) for kind in KINDS if progress.counts[kind.key]]
    drawn, start = [], 0
    for kind, number in kinds:
        label = f"{kind.word.label}: {figures.plural(number, 'device')}"
        rects = format_html_join("", '<rect x="{}" y="{}" width="{}" height="{}"/>', _runs(start, start + number))
        drawn.append((phase, kind.key, f"url(#cell-{kind.cell})", label, label, rects))
        start += number
    rows = -(-start // GRID_COLUMNS)
    return format_html(
        '<svg class="grid" viewBox="0 0 {} {}" role="group" aria-label="{}">{}{}</svg>',
        min(start, GRID_COLUMNS) * PITCH if rows == 1 else GRID_COLUMNS * PITCH,
        rows * PITCH,
        progress.words,
        _patterns() if first else "",
        format_html_join(
            "",
            '<a href="?phase={}&amp;kind={}#rollout-devices" fill="{}" aria-label="{}"><title>{}</title>{}</a>',
            drawn,
        ),
    )


def _runs(start: int, end: int) -> list[tuple[int, int, int, int]]:
    """Rectangles (x, y, width, height) that cover the squares from `start` to before `end`."""
    first, last = start // GRID_COLUMNS, (end - 1) // GRID_COLUMNS
    if first == last:
        runs = [(start % GRID_COLUMNS, first, end - start, 1)]
    else:
        head, tail = GRID_COLUMNS - start % GRID_COLUMNS, end - last * GRID_COLUMNS
        runs = [(start % GRID_COLUMNS, first, head, 1)]
        if last > first + 1:
            runs.append((0, first + 1, GRID_COLUMNS, last - first - 1))
        runs.append((0, last, tail, 1))
    return [(x * PITCH, y * PITCH, width * PITCH, height * PITCH) for x, y, width, height in runs]


def _patterns() -> SafeString:
    made = {kind.cell: kind.fill for kind in KINDS}
    return format_html(
        "<defs>{}</defs>",
        format_html_join(
            "",
            '<pattern id="cell-{}" width="8" height="8" patternUnits="userSpaceOnUse">'
            '<rect width="6.5" height="6.5" rx="1" class="f-{}"/></pattern>',
            made.items(),
        ),
    )
