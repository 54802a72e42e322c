"""What is known for planning of a device, its class and a model's version, each with where it comes from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Avg, Count, Min, Q
from django.urls import reverse
from django.utils.translation import gettext

from agent.wire.hardware import DeviceClass
from fleet.catalog.models import ModelVersion
from fleet.dashboard import listing
from fleet.dashboard.observations import card_of, observation_bytes
from fleet.dashboard.selectors.device import RECENT, Budget, budget
from fleet.dashboard.selectors.trials import CLASSES, Measured, trials
from fleet.dashboard.words import class_label
from fleet.devices.models import Device
from fleet.jobs.models import Job
from fleet.planner.filling import Kind, Known
from fleet.telemetry.models import Sample
from fleet.telemetry.summary import STAGES, summaries

#: Versions that are offered, the newest first, and devices whose names begin as what was typed.
MOST_VERSIONS, MOST_DEVICES = 100, 20
HOUR = timedelta(hours=1)
Pairs = Iterator[tuple[str, Known]]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the plan is for. full is the variant that the device runs, else its class's winner, else the original.

    slim is the smallest variant that may be released, server the original as it was timed here. problems are by field.
    """

    version: ModelVersion | None = None
    device: Device | None = None
    device_class: DeviceClass | None = None
    full: Measured | None = None
    slim: Measured | None = None
    server: Measured | None = None
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def any(self) -> bool:
        return bool(self.version or self.device or self.device_class)


def choose(params: Mapping[str, str]) -> Chosen:
    """`version` (`arm@3`), `device` (id or name) and `class`, as an address has them. Three queries at the most."""
    problems: dict[str, str] = {}
    device = _device(listing.text(params, "device"), problems)
    version = _version(listing.text(params, "version"), device, problems)
    name = device.device_class if device else listing.choice(params, "class", CLASSES)
    measured = trials(version) if version else []
    if not name and measured:
        name = next((one.device_class for one in measured if one.verdict == "won"), measured[0].device_class)
    mine = [one for one in measured if one.device_class == name]
    originals = [one for one in mine if one.original] or [one for one in measured if one.original]
    running = [one for one in mine if device and one.digest and one.digest == device.active_manifest]
    full = [*running, *(one for one in mine if one.verdict == "won"), *originals]
    return Chosen(
        version,
        device,
        DeviceClass(name) if name else None,
        next(iter(full), None),
        min((one for one in mine if one.usable and one.bytes), key=lambda one: one.bytes or 0, default=None),
        next(iter(originals), None),
        problems,
    )


def _device(text: str, problems: dict[str, str]) -> Device | None:
    """By id, else by name; of several of one name the first."""
    if not text:
        return None
    found = Device.objects.filter(Q(pk=text) | Q(name=text), retired_at=None).order_by("pk").first()
    if found is None:
        problems["device"] = gettext("There is no device called {text}.").format(text=text)
    return found


def _version(text: str, device: Device | None, problems: dict[str, str]) -> ModelVersion | None:
    """The one asked for, else the one that the device runs."""
    rows = ModelVersion.objects.select_related("model")
    if not text:
        manifest = device.active_manifest if device else ""
        return rows.filter(variants__manifest_digest=manifest).first() if manifest else None
    name, _, number = text.rpartition("@")
    found = None
    if number.isascii() and number.isdigit() and len(number) < 10:
        found = rows.filter(model__name=name, number=int(number)).first()
    if found is None:
        problems["version"] = gettext("There is no version {text}.").format(text=text)
    return found


def versions(chosen: ModelVersion | None) -> list[str]:
    """What can be chosen: the newest versions, and the chosen one."""
    rows = ModelVersion.objects.order_by("-created_at").values_list("model__name", "number")[:MOST_VERSIONS]
    names = [f"{name}@{number}" for name, number in rows]
    return names if chosen is None or str(chosen) in names else [*names, str(chosen)]


def devices(text: str) -> list[str]:
    """Names that begin so, to choose from while one types."""
    rows = Device.objects.filter(retired_at=None, name__istartswith=text) if text else Device.objects.none()
    return list(rows.order_by("name").values_list("name", flat=True)[:MOST_DEVICES])


def known(chosen: Chosen, now: datetime) -> dict[str, Known]:
    """By field of the situation; the first source that has it. Six queries at the most."""
    found: dict[str, Known] = {}
    for name, each in _sources(chosen, now):
        found.setdefault(name, each)
    _by_ratio(found, chosen)
    return found


def _by_ratio(found: dict[str, Known], chosen: Chosen) -> None:
    """Where one variant was timed on the device and the other only on the server, the other takes as many times more.

    Milliseconds of two machines cannot stand beside each other.
    """
    times = {"compute_ms": _took(chosen.full, all_threads=True), "slim_ms": _took(chosen.slim, all_threads=False)}
    for name, other, one in (("slim_ms", "compute_ms", chosen.slim), ("compute_ms", "slim_ms", chosen.full)):
        mine, theirs, base = times[name], times[other], found.get(other)
        if one and mine and theirs and base and base.kind == "measured" and found[name].kind == "estimated":
            source = gettext("{variant}: {ratio} times what was measured, as on {machine}").format(
                variant=one.name, ratio=f"{mine / theirs:.2f}", machine=_machine(one)
            )
            found[name] = Known(base.value * mine / theirs, "estimated", source, found[name].url)


def _took(one: Measured | None, *, all_threads: bool) -> float | None:
    """p95 of a trial's decisions in ms, on the machine that measured it: with all threads where that was timed."""
    every = one.stored.get("p95_all_ms") if one and all_threads else None
    return every * one.moment if one and every else one.p95 if one else None


def _machine(one: Measured) -> str:
    return str(one.lineage.get("machine") or "").partition(" (")[0] or gettext("this server")


def _sources(chosen: Chosen, now: datetime) -> Pairs:
    """The device itself first, then others of its class, then what was measured on this server."""
    if chosen.device:
        yield from _hardware(chosen.device)
        yield from _telemetry(chosen.device, now)
        yield from _decisions(chosen, chosen.device, now)
    elif chosen.device_class:
        yield from _class(chosen.device_class)
        yield from _others(chosen, now)
    yield from _trials(chosen)
    yield from _card(chosen.version)


def _hardware(device: Device) -> Pairs:
    facts, url = device.hardware or {}, reverse("devices.detail", args=(device.pk,))
    kind: Kind = "declared" if facts.get("declared") else "reported"
    for name, key in (("cores", "cores"), ("memory", "memory_bytes")):
        if facts.get(key):
            yield name, Known(float(facts[key]), kind, device.name, url)
    if device.storage_free is not None:
        yield (
            "storage",
            Known(
                float(device.storage_free),
                "measured",
                gettext("{device}, newest sample").format(device=device.name),
                url,
            ),
        )
    elif facts.get("storage_bytes"):
        yield (
            "storage",
            Known(
                float(facts["storage_bytes"]),
                kind,
                gettext("{device}, as if all were free").format(device=device.name),
                url,
            ),
        )


def _telemetry(device: Device, now: datetime) -> Pairs:
    """Means of the last 15 minutes: what it sent, and what a decision took. One query."""
    rows = Sample.objects.filter(device_id=device.pk, at__gte=now - RECENT)
    means = rows.aggregate(sent=Avg("network_tx"), joules=Avg("energy_per_action"))
    source, url = (
        gettext("{device}, last 15 min").format(device=device.name),
        reverse("devices.detail", args=(device.pk,)),
    )
    if means["sent"] is not None:
        yield (
            "telemetry",
            Known(
                means["sent"],
                "measured",
                gettext("all that {device} sent, last 15 min").format(device=device.name),
                url,
            ),
        )
    if means["joules"] is not None:
        kind: Kind = "measured" if device.power_source == "measured" else "estimated"
        yield "energy", Known(means["joules"], kind, source, url)


def _decisions(chosen: Chosen, device: Device, now: datetime) -> Pairs:
    """What its decisions took: of what it runs by telemetry, else by its own benchmark. One query."""
    runs = chosen.full is not None and bool(chosen.full.digest) and chosen.full.digest == device.active_manifest
    host = gettext(", simulated: this host's time") if device.simulated else ""
    url = reverse("devices.detail", args=(device.pk,))
    # In hybrid mode a part of its decisions was computed elsewhere: what one takes here cannot be told from them.
    if runs and device.latency_p95 is not None and device.mode != "hybrid":
        took = budget(device.pk, now)
        compute, other = _cut(device.latency_p95, took)
        source = (
            gettext("{device}, p95, by stage in the last 15 min{host}").format(device=device.name, host=host)
            if took
            else f"{device.name}, p95{host}"
        )
        yield "slim_ms" if device.mode == "slim" else "compute_ms", Known(compute, "measured", source, url)
        yield "other_ms", Known(other, "measured", source, url)
    elif chosen.full is not None and chosen.full.digest:
        yield from _benchmark(chosen.full.digest, chosen.version, device, host)


def _cut(p95: float, took: Budget | None) -> tuple[float, float]:
    """Of p95 the part that is computing, and the rest, as the stages' means are to each other."""
    compute = sum(stage.milliseconds for stage in took.stages if stage.name == "compute") if took else 0.0
    share = compute / took.total if took and took.total else 1.0
    return share * p95, (1 - share) * p95


def _benchmark(digest: str, version: ModelVersion | None, device: Device, host: str) -> Pairs:
    """What the device measured when it was last re-optimized. One query."""
    rows = Job.objects.filter(version=version, device=device, kind="reoptimize", state="succeeded")
    job = rows.order_by("-id").first()
    for each in job.result.get("candidates", ()) if job else ():
        if each["manifest"] == digest and each.get("p95_ms"):
            source, url = (
                gettext("{device}, p95 of its own benchmark{host}").format(device=device.name, host=host),
                reverse("jobs.detail", args=(job.pk,)),
            )
            yield "compute_ms", Known(each["p95_ms"], "measured", source, url)


def _class(device_class: DeviceClass) -> Pairs:
    """The least device of the class in service, else what searches for the class assume. One query."""
    words = class_label(device_class)
    rows = Device.objects.filter(retired_at=None, device_class=device_class, memory_total__isnull=False)
    least = rows.aggregate(n=Count("pk"), memory=Min("memory_total"), storage=Min("storage_free"))
    if least["n"]:
        source, url = (
            gettext("the least of {count} {device_class} devices").format(count=f"{least['n']:,}", device_class=words),
            f"{reverse('devices')}?q=class:{device_class}",
        )
        yield "memory", Known(float(least["memory"]), "reported", source, url)
        if least["storage"] is not None:
            yield "storage", Known(float(least["storage"]), "measured", source, url)
        return
    from fleet.optimizer.verdict import CLASS_MEMORY  # only this needs the optimizer

    yield (
        "memory",
        Known(
            float(CLASS_MEMORY[device_class]),
            "assumed",
            gettext("what {device_class} devices are taken for").format(device_class=words),
        ),
    )


def _others(chosen: Chosen, now: datetime) -> Pairs:
    """What decisions of the variant took in the last hour on all devices of the class together. Two queries."""
    if chosen.full is None or not chosen.full.digest or chosen.device_class is None:
        return
    digest, words = chosen.full.digest, class_label(chosen.device_class)
    took = summaries(now - HOUR, now, device_class=chosen.device_class, manifests=[digest]).get(())
    p95 = took.latency(0.95) if took else None
    if took is None or p95 is None:
        return
    means = [took.stage(name) or 0.0 for name in STAGES]
    share = (took.stage("compute") or 0.0) / sum(means) if sum(means) else 1.0
    simulated = Device.objects.filter(active_manifest=digest, device_class=chosen.device_class, simulated=True).exists()
    host = gettext(", simulated ones too") if simulated else ""
    source = gettext("p95 of {decisions} decisions on {device_class} devices, last hour{host}").format(
        decisions=f"{took.sums['decisions']:,.0f}", device_class=words, host=host
    )
    url = f"{reverse('devices')}?q=class:{chosen.device_class}"
    yield "compute_ms", Known(share * p95, "measured", source, url)
    yield "other_ms", Known((1 - share) * p95, "measured", source, url)
    if took.energy is not None:
        yield (
            "energy",
            Known(
                took.energy, "estimated", gettext("{device_class} devices, last hour").format(device_class=words), url
            ),
        )


def _trials(chosen: Chosen) -> Pairs:
    """Of the variants' files, and how long they took on the machine that measured them: no device's own time."""
    names = {
        "full": ("need_memory", "size", "compute_ms", chosen.full),
        "slim": ("slim_memory", "slim_size", "slim_ms", chosen.slim),
    }
    for which, (memory, size, took, one) in names.items():
        if one is None or chosen.version is None:
            continue
        page = reverse("models.version", args=(chosen.version.model.name, chosen.version.number))
        url = f"{page}?class={one.device_class}"
        if one.stored.get("memory_bytes"):
            yield (
                memory,
                Known(
                    float(one.stored["memory_bytes"]),
                    "measured",
                    gettext("{variant}, on {machine}").format(variant=one.name, machine=_machine(one)),
                    url,
                ),
            )
        if one.transfer or one.bytes:
            yield size, Known(float(one.transfer or one.bytes or 0), "measured", one.name, url)
        milliseconds = _took(one, all_threads=which == "full")
        if milliseconds:
            yield (
                took,
                Known(
                    milliseconds,
                    "estimated",
                    gettext("{variant}, p95 on {machine}, no device").format(variant=one.name, machine=_machine(one)),
                    url,
                ),
            )
    if chosen.version is not None and chosen.full is None:
        yield (
            "size",
            Known(
                float(chosen.version.size),
                "measured",
                gettext("{version} as it was uploaded").format(version=chosen.version),
            ),
        )
    if chosen.full and chosen.full.stored.get("joules") is not None:
        yield (
            "energy",
            Known(
                chosen.full.stored["joules"],
                "estimated",
                gettext("{variant}, on {machine}").format(variant=chosen.full.name, machine=_machine(chosen.full)),
            ),
        )
    if chosen.server and chosen.server.stored.get("p95_all_ms"):
        source = gettext("original, p95 on {machine}").format(machine=_machine(chosen.server))
        yield "server_ms", Known(chosen.server.stored["p95_all_ms"], "measured", source)


def _card(version: ModelVersion | None) -> Pairs:
    """What goes to a server and comes back by the policy card, uncompressed, and how often."""
    card = card_of(version.card) if version else None
    if card is None:
        yield "latency_limit", Known(settings.DECISION_PROMISE_MS, "stated", gettext("the promise of every decision"))
        return
    yield "latency_limit", Known(card.deadline_ms, "stated", gettext("policy card"))
    yield (
        "observation",
        Known(float(observation_bytes(card)), "estimated", gettext("policy card: the picture as raw RGB")),
    )
    yield (
        "observation_s",
        Known(
            1 / card.rate_hz,
            "stated",
            gettext("policy card: {rate} decisions a second").format(rate=f"{card.rate_hz:g}"),
        ),
    )
    actions = 4 * card.actions.chunk * card.actions.size
    yield "answer", Known(float(actions), "estimated", gettext("policy card: a chunk of actions as 32-bit floats"))
