"""One device: what it reported against what it should be, where its decisions' time goes, what was done with it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from django.db.models import BigIntegerField, Exists, OuterRef, Value
from django.utils.translation import gettext, gettext_lazy

from agent.inference import budgets, selection
from agent.inference.runtimes import Backend
from agent.wire import restraints
from agent.wire.hardware import DeviceClass
from agent.wire.latency import added, quantile
from agent.wire.messages import LIGHT, Budgets, Config, Over, Restraint, Runtime
from agent.wire.states import DEPLOYMENT_OPEN
from agent.wire.states import Deployment as State
from agent.wire.tags import written
from fleet.dashboard.figures import duration, milliseconds, plural
from fleet.dashboard.selectors.alerts import alerted
from fleet.dashboard.selectors.naming import Running, name_of, running
from fleet.dashboard.words import listed
from fleet.devices.models import Device, Group, Tag
from fleet.devices.services import BUDGETS, DECISION_BUDGETS
from fleet.jobs.models import Job
from fleet.rollouts.models import Command, Deployment
from fleet.rollouts.waiting import reason, with_ahead
from fleet.search.groups import having
from fleet.sentences import said
from fleet.telemetry.models import Sample
from fleet.telemetry.sketches import unpack
from fleet.units import rate_words

RECENT = timedelta(minutes=15)
STAGES = {"queue": "c6", "preprocess": "c2", "compute": "c1", "postprocess": "c3", "network": "c4"}
NOT_CONFIRMED = gettext_lazy("not confirmed yet")


@dataclass(frozen=True, slots=True)
class Labels:
    """What a device is sorted by: its tags as people write them, and the groups that it is in."""

    tags: list[str]
    groups: list[str]


def labeled(device_id: str, now: datetime) -> tuple[Device | None, Labels]:
    """The device and its labels; two queries.

    The device says `alerted`: whether any alert of it is open; and the names of what it runs and should run.
    """
    put = Group.devices.through.objects.filter(group=OuterRef("pk"), device=device_id)
    groups = Group.objects.order_by().annotate(put_=Exists(put)).values_list("pk", "name", "query", "put_")
    tags = Tag.objects.order_by().filter(device=device_id)
    nothing = Value(0, BigIntegerField()), Value(False)
    rows = list(
        groups.union(
            tags.annotate(no_=nothing[0], put_=nothing[1]).values_list("no_", "key", "value", "put_"), all=True
        )
    )
    found = [(Group(pk=pk, name=name, query=query), put) for pk, name, query, put in rows if pk]
    device = (
        Device.objects.select_related("token")
        .annotate(
            alerted=alerted(OuterRef("pk")),
            active_name=name_of(OuterRef("active_manifest")),
            desired_name=name_of(OuterRef("desired_manifest")),
            **having([group for group, _ in found], now),
        )
        .filter(pk=device_id)
        .first()
    )
    inside = [group.name for group, put in found if put or getattr(device, f"in_{group.pk}", False)]
    return device, Labels(sorted(written(key, value) for pk, key, value, _ in rows if not pk), sorted(inside))


def names_of(device: Device) -> dict[str, Running]:
    """What it runs and should run, by digest, as far as the catalog knows it. One query; none after `labeled`."""
    if not hasattr(device, "active_name"):
        return running([device.active_manifest, device.desired_manifest])
    found = (Running(**name) for name in (device.active_name, device.desired_name) if name)
    return {name.digest: name for name in found}


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of reported against desired, in words."""

    name: str
    reported: str
    desired: str
    differs: bool
    url: str = ""


def settings_of(device: Device, names: dict[str, Running]) -> list[Setting]:
    """Reported against desired. A device reports its mode, its class and its settings' number, not each setting."""
    config = msgspec.convert(device.config, Config, strict=False)
    confirmed = device.reported_config_version == device.config_version
    return [
        _model(device, names),
        _mode(device.mode, config.mode, confirmed),
        _plain(gettext("Class"), device.device_class, config.device_class or device.device_class, confirmed),
        _only_desired(gettext("Telemetry every"), duration(config.telemetry_interval), confirmed),
        _only_desired(gettext("Watched after an update"), duration(config.watch_seconds), confirmed),
        _only_desired(gettext("Downloads at most"), _rate(config.transfer_rate), confirmed),
        _only_desired(gettext("A decision at most"), _decision_budgets(config), confirmed),
        _budgets(device, config, confirmed),
        Setting(
            gettext("Settings version"), str(device.reported_config_version), str(device.config_version), not confirmed
        ),
    ]


def _decision_budgets(config: Config) -> str:
    named = [
        said(f"{name} {getattr(config, field):g} {unit}")
        for field, name, unit in DECISION_BUDGETS
        if getattr(config, field)
    ]
    return listed(named) or gettext("as by default")


def _mode(reported: str, desired: str, confirmed: bool) -> Setting:
    """What it does, not what it was told."""
    if confirmed and desired == "hybrid" != reported:
        return Setting(
            gettext("Mode"),
            gettext("{reported}: its own settings name no server for inference").format(reported=reported),
            desired,
            True,
        )
    return Setting(gettext("Mode"), said(reported), said(desired), reported != desired)


def _budgets(device: Device, config: Config, confirmed: bool) -> Setting:
    """All in one line. What the device cannot see it cannot keep, and the page says so."""
    limits = {name: say(getattr(config, name)) for name, (_, say) in BUDGETS.items() if getattr(config, name)}
    desired = listed(f"{said(BUDGETS[name][0])} {value}" for name, value in limits.items()) or gettext("none")
    reported = desired if confirmed else NOT_CONFIRMED
    if confirmed and "temperature_budget" in limits and device.sample_at and device.temperature is None:
        reported += gettext("; no temperature is reported, so that one is not kept")
    return Setting(gettext("Budgets"), reported, desired, not confirmed)


@dataclass(frozen=True, slots=True)
class Held:
    """One thing that the device does less of, in words; asks marks the wish for a smaller variant."""

    words: str
    why: str
    since: datetime
    asks: bool


def restraints_of(device: Device) -> list[Held]:
    """As the device reported them last, the newest first."""
    reported = msgspec.convert(device.restraints, list[Restraint])
    return [
        Held(
            _capital(said(restraints.doing(each))),
            said(restraints.why(each)),
            datetime.fromtimestamp(each.since, UTC),
            each.step == "smaller_variant",
        )
        for each in reversed(reported)
    ]


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _rate(bytes_per_second: float) -> str:
    return rate_words(bytes_per_second) if bytes_per_second else gettext("no limit")


def _model(device: Device, names: dict[str, Running]) -> Setting:
    reported, desired = device.active_manifest, device.desired_manifest
    known = names.get(desired) or names.get(reported)

    def called(digest: str) -> str:
        return (
            str(names.get(digest) or gettext("unknown artifact {digest}").format(digest=digest[:12]))
            if digest
            else gettext("none")
        )

    return Setting(
        gettext("Model"),
        called(reported),
        called(desired) if desired else gettext("nothing asked for"),
        bool(desired) and desired != reported,
        known.url if known else "",
    )


def _plain(name: str, reported: str, desired: str, confirmed: bool) -> Setting:
    words = said(reported.replace("_", " ")), said(desired.replace("_", " "))
    return Setting(name, *words, reported != desired and not confirmed)


def _only_desired(name: str, desired: str, confirmed: bool) -> Setting:
    return Setting(name, desired if confirmed else NOT_CONFIRMED, desired, not confirmed)


def runtime(device: Device) -> str:
    """What runs the model on the device, and how it came to it; empty when the device did not say."""
    if not device.runtime:
        return ""
    told = msgspec.convert(device.runtime, Runtime)
    if told.name == LIGHT:
        return gettext("A light device: no inference, and no figure of it is measured.")
    words = said(selection.words(Backend(told.name, told.provider), told.threads))
    if told.p50:
        words += f": p50 {milliseconds(told.p50)}"
    if told.tried > 1:
        return gettext("{runtime} (chosen of {tried} measured)").format(runtime=words, tried=told.tried)
    return words


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    milliseconds: float
    fill: str


@dataclass(frozen=True, slots=True)
class Budget:
    """Where a decision's time went in the last 15 minutes: means in milliseconds, and the p95 of all of them.

    over counts how often a budget was broken, by its name on the wire; refused are requests that waited too long.
    """

    decisions: int
    stages: list[Stage]
    total: float
    p95: float | None
    over: dict[str, int]
    refused: int


def budget(device_id: str, now: datetime) -> Budget | None:
    """None when nothing was decided, or the stages were not reported. One query."""
    counted = ["decisions", "refused", *(f"over_{name}" for name in Over.__struct_fields__)]
    recent = Sample.objects.filter(device_id=device_id, at__gte=now - RECENT, decisions__gt=0)
    rows = list(recent.values(*counted, "latency", *(f"stage_{name}" for name in STAGES)))
    sums = {name: sum(row[name] for row in rows) for name in counted}
    means = {name: _mean(rows, f"stage_{name}") for name in STAGES}
    if means["compute"] is None:
        return None
    stages = [Stage(name, means[name] or 0.0, fill) for name, fill in STAGES.items()]
    if not means["network"]:
        stages.pop()  # all of it was decided on the device
    over = {name: sums[f"over_{name}"] for name in Over.__struct_fields__}
    total = sum(stage.milliseconds for stage in stages)
    p95 = quantile(added(unpack(row["latency"]) for row in rows if row["latency"]), 0.95)
    return Budget(sums["decisions"], stages, total, p95, over, sums["refused"])


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Of a figure of samples, each counting as often as it has decisions."""
    known = [(row[name], row["decisions"]) for row in rows if row[name] is not None]
    return sum(value * count for value, count in known) / sum(count for _, count in known) if known else None


@dataclass(frozen=True, slots=True)
class Limit:
    """One budget of a decision or of the device, and how it was kept in the last 15 minutes."""

    name: str
    allowed: str
    kept: bool
    words: str


def budgets_of(device: Device) -> Budgets:
    """Of a decision, in ms: as the device reported them, else the defaults."""
    return msgspec.convert(device.runtime, Runtime).budgets if device.runtime else Budgets()


def decision_budget(device: Device) -> float:
    """Milliseconds that a whole decision may take there."""
    return budgets_of(device).total


def limits(device: Device, budget: Budget) -> list[Limit]:
    """The budgets that hold on the device: as it reported them, else the defaults."""
    told = budgets_of(device)
    found = [
        _limit(
            name,
            str(milliseconds(getattr(told, field))),
            budget.over[field],
            gettext("{broken} of {of} decisions").format(broken=f"{budget.over[field]:,}", of=f"{budget.decisions:,}"),
        )
        for field, name in (
            ("preprocess", gettext("Preprocess")),
            ("compute", gettext("Compute")),
            ("total", gettext("In all")),
        )
    ]
    config = msgspec.convert(device.config, Config, strict=False)
    found.append(
        _limit(
            gettext("Network"),
            gettext("{bandwidth} Mbit/s").format(bandwidth=f"{budgets.bandwidth(config) / 1000000.0:g}"),
            budget.over["bandwidth"],
            plural(budget.over["bandwidth"], "sample"),
        )
    )
    watts = budgets.watts(config, DeviceClass(device.device_class))
    if watts < math.inf:
        power = plural(budget.over["power"], "sample")
        found.append(_limit(gettext("Power"), f"{watts:g} W", budget.over["power"], power))
    if budget.refused:
        words = gettext("{requests} refused: their deadline had passed").format(
            requests=plural(budget.refused, "request")
        )
        found.append(Limit(gettext("Waiting"), "", False, words))
    return found


def _limit(name: str, allowed: str, broken: int, share: str) -> Limit:
    """share: what broke it, in words."""
    return Limit(
        name, allowed, not broken, gettext("broken by {share}").format(share=share) if broken else gettext("kept")
    )


@dataclass(frozen=True, slots=True)
class Phase:
    """One step of an update: state is done, now or todo."""

    name: str
    state: str
    share: float
    detail: str


_PHASES = (
    (gettext_lazy("Waiting"), {State.QUEUED, State.NOTIFIED}),
    (gettext_lazy("Download"), {State.DOWNLOADING}),
    (gettext_lazy("Verify and install"), {State.VERIFIED, State.INSTALLING}),
    (gettext_lazy("Self-test"), {State.SELF_TESTING}),
    (gettext_lazy("Watch"), {State.WATCHING}),
)


def phases(deployment: Deployment) -> list[Phase]:
    """The steps of an open deployment; only the present one has a share of its own."""
    place = next(number for number, (_, states) in enumerate(_PHASES) if deployment.state in states)
    made = []
    for number, (name, _) in enumerate(_PHASES):
        state = "done" if number < place else "now" if number == place else "todo"
        share = {"done": 1.0, "now": deployment.progress, "todo": 0.0}[state]
        made.append(Phase(name, state, share, said(deployment.step) if state == "now" else ""))
    return made


@dataclass(frozen=True, slots=True)
class DeploymentLine:
    deployment: Deployment
    open: bool
    reason: str


def deployments(device: Device, now: datetime, count: int = 10) -> list[DeploymentLine]:
    """The newest deployments with why they wait or how they ended; one query."""
    rows = with_ahead(device.deployments.all()).select_related(
        "rollout__release__version__model", "variant__version__model", "variant__trial"
    )
    rows = rows.order_by("-created_at")[:count]
    return [DeploymentLine(row, row.state in DEPLOYMENT_OPEN, reason(row, device, now) or row.reason) for row in rows]


def commands(device: Device, count: int = 8) -> list[Command]:
    return list(device.commands.select_related("created_by")[:count])


def jobs(device: Device, count: int = 4) -> list[Job]:
    return list(device.jobs.all()[:count])
