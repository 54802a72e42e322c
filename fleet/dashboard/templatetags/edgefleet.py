"""Tags and filters of the pages. Everything made here is escaped by format_html; nothing is marked safe by hand."""

from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlencode

from django import template
from django.forms import BoundField
from django.templatetags.static import static
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from fleet.dashboard import figures
from fleet.dashboard.export.formats import offered
from fleet.dashboard.listing import State
from fleet.dashboard.selectors.compare import Asked
from fleet.dashboard.words import Word, class_label, word
from fleet.sentences import said, said_name
from fleet.units import rate_words

register = template.Library()

register.filter("size", figures.file_size)
register.filter("memory", figures.memory_size)
register.filter("ms", figures.milliseconds)
register.filter("percent", figures.percent)
register.filter("nearly", figures.nearly)
register.filter("celsius", figures.celsius)
register.filter("watts", figures.watts)
register.filter("joules", figures.joules)
register.filter("duration", figures.duration)
register.filter("digits", figures.digits)
register.filter("rate", rate_words)
register.filter("said", said)
register.filter("said_name", said_name)
register.filter(class_label)


@register.filter
def count(value: int | None) -> str:
    return figures.count(value)


@register.filter
def whole_percent(share: float | None) -> figures.Figure:
    return figures.percent(share, 0)


@register.filter
def plural(number: int, words: str) -> str:
    """`{{ 3|plural:"device" }}`, or with an irregular plural `{{ 3|plural:"battery,batteries" }}`."""
    one, _, many = words.partition(",")
    return figures.plural(number, one, many)


@register.filter
def short(digest: str) -> str:
    """Enough of a digest to tell it from another."""
    return digest[:12]


@register.simple_tag
def icon(name: str, classes: str = "") -> SafeString:
    address = f"{static('icons.svg')}#{name}"
    return format_html('<svg class="i {}" aria-hidden="true"><use href="{}"/></svg>', classes, address)


@register.simple_tag
def badge(kind: str, state: str, classes: str = "") -> SafeString:
    """The badge of a state: icon, word and colour."""
    known = word(kind, state)
    return format_html('<span class="badge {} {}">{}{}</span>', known.tone, classes, icon(known.icon), known.label)


@register.simple_tag
def state_icon(kind: str, state: str) -> SafeString:
    known = word(kind, state)
    return icon(known.icon, f"t-{known.tone}")


@register.simple_tag
def state_label(kind: str, state: str) -> str:
    return word(kind, state).label


@register.simple_tag
def when(moment: datetime | None, style: str = "relative", none: str = "") -> SafeString:
    """A time. Without scripts it is UTC; scripts put it into the viewer's zone and, when relative, say `3 min ago`."""
    if moment is None:
        return format_html('<span class="faint">{}</span>', none or gettext("never"))
    stamp = moment.astimezone(UTC)
    return format_html(
        '<time datetime="{}" data-when="{}">{}</time>',
        stamp.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        style,
        stamp.strftime("%Y-%m-%d %H:%M:%S UTC"),
    )


def _live(part: str, topics: str, every: int, address: str) -> SafeString:
    return format_html(
        'id="{}" data-live="{}" data-live-every="{}" hx-get="{}" hx-trigger="live" hx-target="this" hx-swap="morph"',
        part,
        topics,
        every,
        address,
    )


@register.simple_tag(takes_context=True)
def live(context: template.Context, part: str, topics: str, every: int = 600) -> SafeString:
    """Attributes of a part of the page that fetches itself again, by its id, when one of `topics` is announced.

    `every` is the shortest time between two fetches in milliseconds.
    """
    return _live(part, topics, every, context["request"].get_full_path())


@register.simple_tag(takes_context=True)
def live_at(context: template.Context, part: str, topics: str, name: str, every: int = 600) -> SafeString:
    """As `live`, for a page that may itself be the answer to a form: it is fetched from the page called `name`."""
    request = context["request"]
    return _live(part, topics, every, request.get_full_path() if request.method == "GET" else reverse(name))


@register.inclusion_tag("parts/field.html")
def field(bound: BoundField, classes: str = "") -> dict[str, object]:
    """A form field with label, hint and error, tied together for screen readers."""
    described = [f"{bound.id_for_label}-hint"] if bound.help_text else []
    if bound.errors:
        described.append(f"{bound.id_for_label}-error")
    attrs = {"aria-describedby": " ".join(described)} if described else {}
    if bound.errors:
        attrs["aria-invalid"] = "true"
    return {
        "field": bound,
        "classes": classes,
        "control": bound.as_widget(attrs=attrs),
        "checkbox": getattr(bound.field.widget, "input_type", "") == "checkbox",
    }


@register.inclusion_tag("parts/th.html")
def th(listing, column: str, label: str, classes: str = "") -> dict[str, object]:
    """A column header that sorts. `listing` has `order` and `state` (fleet.dashboard.listing)."""
    here = listing.order.column == column
    turned = f"-{column}" if here and not listing.order.descending else column
    return {
        "label": label,
        "classes": classes,
        "sorted": ("descending" if listing.order.descending else "ascending") if here else "",
        "url": listing.state.url(sort=turned),
    }


@register.inclusion_tag("parts/pager.html")
def pager(listing, noun: str) -> dict[str, object]:
    pages = [(number, listing.state.url(page=number)) for number in listing.pager.numbers]
    return {
        "pager": listing.pager,
        "pages": pages,
        "noun": noun,
        "next": listing.state.url(page=listing.pager.number + 1),
    }


@register.inclusion_tag("parts/export.html")
def export(what: str, of: str | int = "", here: State | Asked | None = None, **params: str) -> dict[str, object]:
    """Links to all of a list or comparison, whose state is `here`, or of a chart, as files (fleet.dashboard.export)."""
    asked = here.url(page=None, per=None) if here else f"?{urlencode(params)}"
    named = ("export.of", {"what": what, "of": of}) if of else ("export", {"what": what})
    files = [(form, reverse(named[0], kwargs={**named[1], "form": form}) + asked) for form in offered()]
    return {"files": files}


@register.simple_tag
def url_with(here, **changes) -> str:
    """The address of the list whose state is `here`, with other parameters."""
    return here.url(**changes)


@register.simple_tag
def share_of(part: float | None, whole: float | None) -> figures.Figure:
    return figures.percent(figures.share(part, whole), 0)


@register.filter
def topic(kind: str, key: object) -> str:
    """What a change of one thing is announced as: `version:3`."""
    return f"{kind}:{key}"


@register.simple_tag
def gain(loss_points: float) -> str:
    """A loss in points, as what was gained: a negative figure got worse. The row's head has the unit."""
    return figures.points(-loss_points).value


@register.simple_tag
def gain_range(measured) -> str:
    low, high = figures.points(-measured.loss_high).value, figures.points(-measured.loss_low).value
    return gettext("{low} to {high}").format(low=low, high=high)


@register.simple_tag
def word_icon(shown: Word) -> SafeString:
    return icon(shown.icon, f"t-{shown.tone}")


@register.simple_tag
def item(mapping: Mapping[str, object], key: str) -> object:
    return mapping[key]


@register.filter
def humanized(key: str) -> str:
    return said(key.replace("_", " "))


@register.filter
def minus(value: int, other: int) -> int:
    return value - other
