"""Two versions or variants, two classes, two devices: found by what an address names, with what they did in a time."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy

from fleet.catalog.models import ModelVersion, Variant
from fleet.dashboard import listing
from fleet.dashboard.comparing import Side
from fleet.dashboard.selectors.naming import running
from fleet.dashboard.selectors.trials import CLASSES
from fleet.dashboard.series import RANGES, zoom_of
from fleet.dashboard.words import class_label
from fleet.devices.models import Device
from fleet.telemetry.summary import Summary, merged, of_devices, summaries

KINDS = {"version": gettext_lazy("Versions"), "class": gettext_lazy("Classes"), "device": gettext_lazy("Devices")}
DEFAULT_RANGE = "24h"
#: Versions that are offered, the newest first, and devices whose names begin as what was typed.
MOST_VERSIONS, MOST_DEVICES = 60, 20


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address says. a and b are as it has them; only is the class that versions are compared on, or empty."""

    kind: str
    a: str
    b: str
    only: str
    range: str
    zoom: tuple[float, float] | None
    now: datetime

    @property
    def span(self) -> tuple[datetime, datetime]:
        if self.zoom:
            start, end = (datetime.fromtimestamp(each, UTC) for each in self.zoom)
            return start, end
        return self.now - timedelta(seconds=RANGES[self.range].span), self.now

    def url(self, **changes: str | None) -> str:
        """The address of this comparison with changes (None: taken out); a fixed time goes with a new range."""
        given = {"kind": self.kind, "a": self.a, "b": self.b, "class": self.only, "range": self.range}
        if self.zoom and "range" not in changes:
            given |= {name: str(round(each * 1000)) for name, each in zip(("from", "to"), self.zoom, strict=True)}
        return "?" + urlencode({name: value for name, value in (given | changes).items() if value})

    @property
    def fixed_url(self) -> str:
        """The same with its time as it is now: that link does not move on."""
        start, end = self.span
        return self.url(**{"from": str(round(start.timestamp() * 1000)), "to": str(round(end.timestamp() * 1000))})


def asked(params: Mapping[str, str], now: datetime) -> Asked:
    kind = listing.choice(params, "kind", tuple(KINDS), "version")
    return Asked(
        kind,
        listing.text(params, "a", 200),
        listing.text(params, "b", 200),
        listing.choice(params, "class", CLASSES) if kind == "version" else "",
        listing.choice(params, "range", tuple(RANGES), DEFAULT_RANGE),
        zoom_of(params, now.timestamp()),
        now,
    )


def completed(given: Asked) -> str | None:
    """The whole address, where it names only the first side and a second one suggests itself. Two queries at most."""
    if not given.a or given.b:
        return None
    other = {"version": _other_version, "class": _other_class, "device": _other_device}[given.kind](given.a)
    return given.url(b=other) if other else None


def _other_version(text: str) -> str:
    """The one before it, else the newest other one of its model."""
    name, _, number = text.partition(":")[0].rpartition("@")
    if not number.isdecimal() or len(number) > 9:
        return ""
    rows = ModelVersion.objects.filter(model__name=name).exclude(number=int(number)).order_by("-number")
    numbers = list(rows.values_list("number", flat=True)[:MOST_VERSIONS])
    before = next((other for other in numbers if other < int(number)), next(iter(numbers), None))
    return f"{name}@{before}" if before is not None else ""


def _other_class(text: str) -> str:
    return next((name for name in CLASSES if name != text), "")


def _other_device(text: str) -> str:
    """Another one of its class; one that runs the same where there is one."""
    device = _found_device(text)
    if device is None:
        return ""
    rows = Device.objects.filter(retired_at=None, device_class=device.device_class).exclude(pk=device.pk)
    same = rows.filter(active_manifest=device.active_manifest).order_by("name").values_list("name", flat=True)
    return same.first() or rows.order_by("name").values_list("name", flat=True).first() or ""


@dataclass(frozen=True, slots=True)
class Compared:
    """Both sides; None where the address does not name one. problems are by `a` and `b`."""

    a: Side | None
    b: Side | None
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def both(self) -> bool:
        return self.a is not None and self.b is not None


def compared(given: Asked) -> Compared:
    """Five queries at most."""
    return {"version": _versions, "class": _classes, "device": _devices}[given.kind](given)


# --- Versions and variants ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Wanted:
    name: str
    url: str
    manifests: frozenset[str]


def _versions(given: Asked) -> Compared:
    texts = {"a": given.a, "b": given.b}
    wanted = Q()
    for text in filter(None, texts.values()):
        wanted |= _version_condition(text)
    rows = list(
        Variant.objects.filter(wanted).values_list(
            "version__model__name", "version__number", "trial__name", "manifest_digest"
        )
        if wanted
        else ()
    )
    known = {side: _wanted(text, rows) for side, text in texts.items() if text}
    problems = {
        side: gettext("There is no {texts} with a variant.").format(texts=texts[side])
        for side, one in known.items()
        if one is None
    }
    digests = {digest for one in known.values() if one for digest in one.manifests}
    parts = (
        summaries(*given.span, "device_class", "manifest", device_class=given.only, manifests=digests)
        if digests
        else {}
    )
    simulated = _simulated("active_manifest", digests)
    made = {side: _version_side(one, parts, simulated) for side, one in known.items() if one}
    return Compared(made.get("a"), made.get("b"), problems)


def _version_condition(text: str) -> Q:
    """`arm@3`, or `arm@3:fp16` for one variant of it."""
    version, _, variant = text.partition(":")
    name, _, number = version.rpartition("@")
    if not number.isascii() or not number.isdigit() or len(number) > 9:
        return Q(pk__in=[])
    found = Q(version__model__name=name, version__number=int(number))
    return found & Q(trial__name=variant) if variant else found


def _wanted(text: str, rows: Iterable[tuple[str, int, str, str]]) -> _Wanted | None:
    version, _, variant = text.partition(":")
    mine = [row for row in rows if f"{row[0]}@{row[1]}" == version and variant in ("", row[2])]
    if not mine:
        return None
    name = f"{version} {variant}" if variant else version
    return _Wanted(name, reverse("models.version", args=mine[0][:2]), frozenset(row[3] for row in mine))


def _version_side(one: _Wanted, parts: Mapping[tuple[str, ...], Summary], simulated: set[str]) -> Side:
    mine = {key: each for key, each in parts.items() if key[1] in one.manifests}
    classes = _decided((class_label(key[0]), each) for key, each in mine.items())
    return Side(
        one.name, one.url, merged(mine.values()), classes=classes, simulated=not simulated.isdisjoint(one.manifests)
    )


def _simulated(column: str, values: Collection[str]) -> set[str]:
    """Those of `values` that simulated devices have in a column."""
    devices = Device.objects.filter(**{f"{column}__in": values}, simulated=True, retired_at=None)
    return set(devices.order_by().values_list(column, flat=True).distinct()) if values else set()


def _decided(parts: Iterable[tuple[str, Summary]]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for name, each in parts:
        counted[name] += int(each.sums["decisions"])
    return counted


# --- Classes --------------------------------------------------------------------------------------------------------


def _classes(given: Asked) -> Compared:
    texts = {"a": given.a, "b": given.b}
    problems = {
        side: gettext("There is no class {text}.").format(text=text)
        for side, text in texts.items()
        if text and text not in CLASSES
    }
    parts = summaries(*given.span, "device_class", "manifest")
    names = running(key[1] for key in parts)
    simulated = _simulated("device_class", [text for text in texts.values() if text in CLASSES])
    made = {
        side: _class_side(
            text, {key[1]: each for key, each in parts.items() if key[0] == text}, names, text in simulated
        )
        for side, text in texts.items()
        if text in CLASSES
    }
    return Compared(made.get("a"), made.get("b"), problems)


def _class_side(name: str, parts: Mapping[str, Summary], names: Mapping, simulated: bool) -> Side:
    label = class_label(name)
    ran = _decided(
        (names[key].version if key in names else gettext("something unknown"), each) for key, each in parts.items()
    )
    return Side(label, f"{reverse('devices')}?q=class:{name}", merged(parts.values()), ran, simulated=simulated)


# --- Devices --------------------------------------------------------------------------------------------------------


def _found_device(text: str) -> Device | None:
    return Device.objects.filter(Q(pk=text) | Q(name=text)).order_by("pk").first() if text else None


def _devices(given: Asked) -> Compared:
    texts = {"a": given.a, "b": given.b}
    found = {side: _found_device(text) for side, text in texts.items() if text}
    problems = {
        side: gettext("There is no device called {texts}.").format(texts=texts[side])
        for side, one in found.items()
        if one is None
    }
    devices = [one for one in found.values() if one]
    figures = of_devices([one.pk for one in devices], *given.span) if devices else {}
    names = running(one.active_manifest for one in devices)
    made = {side: _device_side(one, figures.get(one.pk) or Summary(), names) for side, one in found.items() if one}
    return Compared(made.get("a"), made.get("b"), problems)


def _device_side(device: Device, summary: Summary, names: Mapping) -> Side:
    known = names.get(device.active_manifest)
    facts = (
        class_label(device.device_class),
        device.hardware.get("board") or gettext("board not reported"),
        gettext("runs {known}").format(known=known) if known else gettext("runs nothing that the catalog knows"),
    )
    url = reverse("devices.detail", args=(device.pk,))
    return Side(device.name, url, summary, facts=facts, simulated=device.simulated)


# --- To choose from -------------------------------------------------------------------------------------------------


def choices() -> list[tuple[str, list[str]]]:
    """Versions with the names of their variants, the newest first; one query."""
    rows = Variant.objects.order_by("-version__created_at", "-version_id", "trial__name")
    found: dict[str, list[str]] = {}
    for model, number, trial in rows.values_list("version__model__name", "version__number", "trial__name")[:1000]:
        trials = found.setdefault(f"{model}@{number}", [])
        if trial not in trials:
            trials.append(trial)
    return list(found.items())[:MOST_VERSIONS]


def device_names(*texts: str) -> list[str]:
    """Names that begin as one of the texts, to choose from while one types; one query."""
    wanted = Q()
    for text in filter(None, texts):
        wanted |= Q(name__istartswith=text)
    rows = Device.objects.filter(wanted, retired_at=None) if wanted else Device.objects.filter(retired_at=None)
    return list(rows.order_by("name").values_list("name", flat=True)[:MOST_DEVICES])
