"""Which variant runs where: over time from roll-ups, and now by class or by group."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from django.db.models import Count, Q, Sum
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy

from agent.wire.states import Admission
from fleet.dashboard.selectors.naming import Running, running
from fleet.dashboard.words import CLASS_LABELS, class_label
from fleet.devices.models import Device, Group
from fleet.search.groups import MOST_DYNAMIC, having
from fleet.search.words import quoted
from fleet.sentences import said
from fleet.telemetry.models import FleetHour, FleetMinute, FleetRollup

#: What the map goes back: its label, seconds, seconds of a point, and the roll-ups that it is drawn from.
SPANS: dict[str, tuple[str, int, int, type[FleetRollup]]] = {
    "6h": (gettext_lazy("6 h"), 6 * 3600, 300, FleetMinute),
    "24h": (gettext_lazy("24 h"), 86_400, 3600, FleetHour),
    "7d": (gettext_lazy("7 d"), 7 * 86_400, 3600, FleetHour),
    "30d": (gettext_lazy("30 d"), 30 * 86_400, 4 * 3600, FleetHour),
    "90d": (gettext_lazy("90 d"), 90 * 86_400, 12 * 3600, FleetHour),
}
DEFAULT_SPAN = "7d"
BY = {"class": gettext_lazy("By class"), "group": gettext_lazy("By group")}
#: Variants with a colour of their own; the others are one.
MOST = 5
#: Seconds after which a point that is not over yet is drawn: its first samples speak of the time before it, too.
EARLY = 600
#: Columns that fit beside each other.
MOST_GROUPS = 8


@dataclass(frozen=True, slots=True)
class Layer:
    """A variant over time: how many devices ran it on average at each point. running is None for all others."""

    running: Running | None
    fill: str
    devices: list[float]

    @property
    def name(self) -> str:
        if self.running is None:
            return gettext("other, or not in the catalog")
        return f"{self.running.version} {class_label(self.running.device_class)}, {said(self.running.variant)}"


@dataclass(frozen=True, slots=True)
class Story:
    """at: the beginning of each point, Unix ms."""

    at: list[int]
    layers: list[Layer]

    @property
    def points(self) -> int:
        return len(self.at)


def story(span: str, now: datetime) -> Story:
    """Two queries, and two thousand rows at most whatever the fleet's size: a roll-up's interval is device-time."""
    _, length, bucket, model = SPANS[span]
    first = int(now.timestamp() - length) // bucket * bucket
    rows = (
        model.objects.filter(start__gte=first, start__lte=int(now.timestamp()))
        .order_by()
        .values_list("start", "manifest")
    )
    seconds: dict[str, Counter[int]] = {}
    for start, manifest, interval in rows.annotate(Sum("interval")):
        seconds.setdefault(manifest, Counter())[start // bucket * bucket] += interval
    if not seconds:
        return Story([], [])
    names = running(seconds)
    known = sorted((name for name in seconds if name in names), key=lambda name: -seconds[name].total())
    starts = list(range(first, int(now.timestamp()) + 1, bucket))
    if len(starts) > 1 and now.timestamp() - starts[-1] < EARLY:
        starts.pop()
    lengths = {start: min(bucket, max(now.timestamp() - start, 1)) for start in starts}

    def layer(manifests: Sequence[str], named: Running | None, fill: str) -> Layer:
        each = [sum(seconds[name][start] for name in manifests) / lengths[start] for start in starts]
        return Layer(named, fill, [round(value, 2) for value in each])

    layers = [layer([name], names[name], f"c{number + 1}") for number, name in enumerate(known[:MOST])]
    rest = [name for name in seconds if name not in known[:MOST]]
    if rest:
        layers.append(layer(rest, None, "c6"))
    return Story([start * 1000 for start in starts], layers)


def chart(told: Story) -> dict[str, object] | None:
    """Stacked areas; None where nothing was measured. `at` is put into the viewer's zone by the page."""
    if not told.layers:
        return None
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": layer.name.replace("&", "&amp;").replace("<", "&lt;"),
            "x": told.at,
            "y": layer.devices,
            "stackgroup": "all",
            "line": {"color": f"var(--{layer.fill})", "width": 0.5, "shape": "hv"},
            "fillcolor": f"var(--{layer.fill})",
            "hovertemplate": "%{y:.3~g}",
        }
        for layer in told.layers
    ]
    layout = {
        "xaxis": {"type": "date", "hoverformat": gettext("%-d %b %H:%M")},
        "yaxis": {"title": {"text": gettext("Devices, on average")}},
    }
    return {"data": traces, "layout": layout, "times": True}


# --- Now ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cell:
    """How many devices; search is what finds them, empty where no search does."""

    count: int
    search: str = ""

    @property
    def url(self) -> str:
        return f"{reverse('devices')}?q={quote(self.search)}" if self.search else ""


@dataclass(frozen=True, slots=True)
class Line:
    """A variant, or a version with all of its variants (running is then None); version is empty for all else."""

    version: str
    url: str
    running: Running | None
    cells: list[Cell]
    total: Cell


@dataclass(frozen=True, slots=True)
class Matrix:
    """columns: what stands above them, and the search that is one column. hidden are groups that had no room."""

    columns: list[tuple[str, str]]
    lines: list[Line]
    hidden: int = 0


def matrix(by: str, now: datetime) -> Matrix:
    """Devices in service. Three queries at most, and one more when the query of a group names groups."""
    return _by_group(now) if by == "group" else _by_class()


def _in_service():
    return Device.objects.filter(retired_at=None, admission=Admission.ACCEPTED).order_by()


def _by_class() -> Matrix:
    rows = _in_service().values_list("active_manifest", "device_class").annotate(Count("pk"))
    columns = [(label, f"class:{name}") for name, label in CLASS_LABELS.items()]
    counted: dict[str, Counter[str]] = {}
    for manifest, device_class, count in rows:
        counted.setdefault(manifest, Counter())[f"class:{device_class}"] = count
    totals = {manifest: counts.total() for manifest, counts in counted.items()}
    return Matrix(columns, _lines(columns, counted, totals))


def _by_group(now: datetime) -> Matrix:
    """A device may be in several groups: the rows' sums are those of the fleet, not of the columns."""
    groups = list(Group.objects.all()[:MOST_DYNAMIC])
    shown = groups[:MOST_GROUPS]
    conditions = having(shown, now)
    static = Group.devices.through.objects
    figures = {}
    for group in shown:
        inside = f"in_{group.pk}"
        if group.dynamic:
            wanted = {inside: True} if inside in conditions else {"pk__in": []}
        else:
            wanted = {"pk__in": static.filter(group=group).values("device_id")}
        figures[f"n_{group.pk}"] = Count("pk", filter=Q(**wanted))
    rows = _in_service().annotate(**conditions).values("active_manifest").annotate(n=Count("pk"), **figures)
    columns = [(group.name, f"group:{quoted(group.name)}") for group in shown]
    counted = {
        row["active_manifest"]: Counter({f"group:{quoted(group.name)}": row[f"n_{group.pk}"] for group in shown})
        for row in rows
    }
    totals = {row["active_manifest"]: row["n"] for row in rows}
    return Matrix(columns, _lines(columns, counted, totals), len(groups) - len(shown))


def _lines(
    columns: list[tuple[str, str]], counted: Mapping[str, Counter[str]], totals: Mapping[str, int]
) -> list[Line]:
    """A line for each version, those of its variants below it, and what the catalog does not know at the end."""
    names = running(counted)
    versions: dict[tuple[str, int], dict[str, list[str]]] = {}
    for digest, name in names.items():
        versions.setdefault((name.model, name.number), {}).setdefault(name.variant, []).append(digest)
    lines = []
    for _, variants in sorted(versions.items(), key=lambda each: (each[0][0], -each[0][1])):
        digests = [digest for some in variants.values() for digest in some]
        ranked = sorted(variants.values(), key=lambda some: -sum(totals[digest] for digest in some))
        lines.append(_line(columns, counted, totals, digests, None, names[digests[0]]))
        lines += [_line(columns, counted, totals, some, names[some[0]], names[some[0]]) for some in ranked]
    unknown = [digest for digest in counted if digest not in names]
    if unknown:
        cells = [Cell(sum(counted[digest][key] for digest in unknown)) for _, key in columns]
        lines.append(Line("", "", None, cells, Cell(sum(totals[digest] for digest in unknown))))
    return lines


def _line(columns, counted, totals, digests: list[str], variant: Running | None, name: Running) -> Line:
    search = f"accepted {variant.search if variant else f'model:{name.version}'}"
    cells = [Cell(sum(counted[digest][key] for digest in digests), f"{search} {key}") for _, key in columns]
    return Line(name.version, name.url, variant, cells, Cell(sum(totals[digest] for digest in digests), search))
