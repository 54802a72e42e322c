"""Figures drawn as SVG: bars in percent of the width, rulers with a limit. No inline style is ever needed."""

from collections.abc import Iterable

from django import template
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from fleet.dashboard import figures
from fleet.dashboard.scale import ruler

register = template.Library()


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
        "label": "; ".join(f"{bar['label']} {bar['value']}" for bar in drawn) + f"; limit {limit:g} ms",
    }


@register.simple_tag
def stage_bar(budget) -> SafeString:
    """The mean decision of a device, cut into its stages."""
    parts = [(stage.fill, stage.milliseconds / budget.total if budget.total else 0.0) for stage in budget.stages]
    said = ", ".join(f"{stage.name} {figures.milliseconds(stage.milliseconds)}" for stage in budget.stages)
    return bar(parts, said, "lg")


@register.simple_tag
def success_interval(measured, axis: tuple[float, float], said: int | None = None) -> SafeString | str:
    """Task success with its interval and its number of episodes, in words and drawn on `axis` (shares from, to).

    said is a number of episodes that already stands beside it and need not be written again.
    """
    if measured is None or measured.success is None:
        return figures.NOT_REPORTED
    words = format_html("<b>{}</b>", figures.percent(measured.success))
    if measured.low is None or measured.high is None:
        return format_html('{} <small class="faint">{} episodes</small>', words, figures.count(measured.episodes))
    episodes = "" if said and said == measured.episodes else f", n = {figures.count(measured.episodes)}"
    return format_html(
        '{} <small class="faint">{}–{}{}</small><svg class="ci" role="img" aria-label="between {} and {}">'
        '<line class="ax" x1="0" x2="100%" y1="6" y2="6"/><line class="rg" x1="{}%" x2="{}%" y1="6" y2="6"/>'
        '<circle cx="{}%" cy="6" r="3.5"/></svg>',
        words,
        figures.percent(measured.low).value,
        figures.percent(measured.high).value,
        episodes,
        figures.percent(measured.low),
        figures.percent(measured.high),
        *(_on_axis(share, axis) for share in (measured.low, measured.high, measured.success)),
    )


def _on_axis(share: float, axis: tuple[float, float]) -> str:
    low, high = axis
    return f"{min(max((share - low) / (high - low or 1.0) * 100, 0), 100):.1f}"


@register.simple_tag
def share_bar(part: int, whole: int, fill: str = "pending") -> SafeString:
    share = figures.share(part, whole) or 0.0
    return bar([(fill, share)], f"{share:.0%}", "thin")


@register.simple_tag
def spread_bar(lines) -> SafeString:
    """How many devices run which version, as one bar."""
    said = ", ".join(f"{line.model or 'other'} {line.share:.0%}" for line in lines)
    return bar([(line.fill, line.share) for line in lines], said, "lg")


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
