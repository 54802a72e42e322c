"""One device: what it reported against what it should be, where its decisions' time goes, what was done with it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from django.db.models import Max, Sum

from agent.wire.messages import Config
from agent.wire.states import DEPLOYMENT_OPEN
from agent.wire.states import Deployment as State
from fleet.dashboard.figures import duration
from fleet.dashboard.selectors.naming import Running
from fleet.dashboard.selectors.series import weighted
from fleet.devices.models import Device
from fleet.jobs.models import Job
from fleet.rollouts.models import Command, Deployment
from fleet.rollouts.waiting import reason, with_ahead
from fleet.telemetry.models import Sample
from fleet.units import file_words

RECENT = timedelta(minutes=15)
STAGES = {"queue": "c6", "preprocess": "c2", "compute": "c1", "postprocess": "c3"}
NOT_CONFIRMED = "not confirmed yet"


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
        _plain("Mode", device.mode, config.mode, confirmed),
        _plain("Class", device.device_class, config.device_class or device.device_class, confirmed),
        _only_desired("Telemetry every", duration(config.telemetry_interval), confirmed),
        _only_desired("Watched after an update", duration(config.watch_seconds), confirmed),
        _only_desired("Downloads at most", _rate(config.transfer_rate), confirmed),
        Setting("Settings version", str(device.reported_config_version), str(device.config_version), not confirmed),
    ]


def _rate(bytes_per_second: float) -> str:
    return f"{file_words(bytes_per_second)}/s" if bytes_per_second else "no limit"


def _model(device: Device, names: dict[str, Running]) -> Setting:
    reported, desired = device.active_manifest, device.desired_manifest
    known = names.get(desired) or names.get(reported)

    def called(digest: str) -> str:
        return str(names.get(digest) or f"unknown artifact {digest[:12]}") if digest else "none"

    return Setting(
        "Model",
        called(reported),
        called(desired) if desired else "nothing asked for",
        bool(desired) and desired != reported,
        known.url if known else "",
    )


def _plain(name: str, reported: str, desired: str, confirmed: bool) -> Setting:
    words = reported.replace("_", " "), desired.replace("_", " ")
    return Setting(name, *words, reported != desired and not confirmed)


def _only_desired(name: str, desired: str, confirmed: bool) -> Setting:
    return Setting(name, desired if confirmed else NOT_CONFIRMED, desired, not confirmed)


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    milliseconds: float
    fill: str


@dataclass(frozen=True, slots=True)
class Budget:
    """Where a decision's time went in the last 15 minutes: means in milliseconds; p95 is the highest reported."""

    decisions: int
    stages: list[Stage]
    total: float
    p95: float | None


def budget(device_id: str, now: datetime) -> Budget | None:
    """None when nothing was decided, or the stages were not reported. One query."""
    names = [f"stage_{name}" for name in STAGES]
    rows = Sample.objects.filter(device_id=device_id, at__gte=now - RECENT, decisions__gt=0)
    sums = rows.aggregate(
        count=Sum("decisions"), p95=Max("latency_p95"), **{f"{name}_": weighted(name) for name in names}
    )
    if not sums["count"] or sums["stage_compute_"] is None:
        return None
    stages = [Stage(name, sums[f"stage_{name}_"] or 0.0, fill) for name, fill in STAGES.items()]
    return Budget(sums["count"], stages, sum(stage.milliseconds for stage in stages), sums["p95"])


@dataclass(frozen=True, slots=True)
class Phase:
    """One step of an update: state is done, now or todo."""

    name: str
    state: str
    share: float
    detail: str


_PHASES = (
    ("Waiting", {State.QUEUED, State.NOTIFIED}),
    ("Download", {State.DOWNLOADING}),
    ("Verify and install", {State.VERIFIED, State.INSTALLING}),
    ("Self-test", {State.SELF_TESTING}),
    ("Watch", {State.WATCHING}),
)


def phases(deployment: Deployment) -> list[Phase]:
    """The steps of an open deployment; only the present one has a share of its own."""
    place = next(number for number, (_, states) in enumerate(_PHASES) if deployment.state in states)
    made = []
    for number, (name, _) in enumerate(_PHASES):
        state = "done" if number < place else "now" if number == place else "todo"
        share = {"done": 1.0, "now": deployment.progress, "todo": 0.0}[state]
        made.append(Phase(name, state, share, deployment.step if state == "now" else ""))
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
