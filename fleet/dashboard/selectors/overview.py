"""The fleet in one look."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Case, Count, Q, Sum, Value, When
from django.utils.translation import gettext

from agent.wire.states import Admission
from fleet.catalog.models import ModelVersion
from fleet.dashboard.selectors.naming import Observed, Running
from fleet.dashboard.words import CLASS_LABELS
from fleet.devices.liveness import Liveness, query
from fleet.devices.models import Device, EnrollmentToken
from fleet.rollouts.models import Rollout

STATES = tuple(value.value for value in Liveness)


@dataclass(frozen=True, slots=True)
class ClassLine:
    device_class: str
    total: int
    states: dict[str, int]
    late: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """Devices in service, by class and by what they run; and what all of them together reported last.

    late are the online ones whose p95 is above the promise; timed the online ones that reported a latency. power is
    the sum of what was reported, in watts, by `powered` devices, `estimated` of which did not measure it. running
    counts devices by manifest; an empty one is none. simulated are those whose latency is another computer's.
    """

    classes: list[ClassLine]
    total: ClassLine
    timed: int
    power: float | None
    powered: int
    estimated: int
    running: Counter[str]
    simulated: int

    @property
    def power_source(self) -> str:
        if not self.estimated:
            return gettext("measured")
        return (
            gettext("estimated")
            if self.estimated == self.powered
            else gettext("{estimated} of them estimated").format(estimated=f"{self.estimated:,}")
        )


def fleet(now: datetime, promise_ms: float) -> Fleet:
    """One query; each device's connection is looked at once, and counted by."""
    words = [Liveness.NEVER, Liveness.OFFLINE, Liveness.SILENT]
    state = Case(*[When(query(word, now), then=Value(word.value)) for word in words], default=Value("online"))
    rows = (
        Device.objects.filter(retired_at=None, admission=Admission.ACCEPTED)
        .order_by()
        .annotate(state_=state)
        .values("device_class", "active_manifest", "state_")
        .annotate(
            n=Count("pk"),
            late=Count("pk", filter=Q(latency_p95__gt=promise_ms)),
            timed=Count("latency_p95"),
            watts=Sum("power"),
            powered=Count("power"),
            estimated=Count("power", filter=Q(power_source="estimated")),
            simulated=Count("pk", filter=Q(simulated=True)),
        )
    )
    by_class: dict[str, Counter[str]] = {}
    running: Counter[str] = Counter()
    for row in rows:
        counted = by_class.setdefault(row["device_class"], Counter())
        counted[f"n_{row['state_']}"] += row["n"]
        counted["simulated"] += row["simulated"]
        running[row["active_manifest"]] += row["n"]
        if row["state_"] == Liveness.ONLINE:
            counted.update({name: row[name] or 0 for name in ("late", "timed", "watts", "powered", "estimated")})
    whole: Counter[str] = sum(by_class.values(), Counter())
    return Fleet(
        classes=[_line(name, by_class[name]) for name in CLASS_LABELS if name in by_class],
        total=_line("all", whole),
        timed=whole["timed"],
        power=whole["watts"] if whole["powered"] else None,
        powered=whole["powered"],
        estimated=whole["estimated"],
        running=running,
        simulated=whole["simulated"],
    )


def _line(name: str, counted: Counter[str]) -> ClassLine:
    states = {state: counted[f"n_{state}"] for state in STATES}
    return ClassLine(name, sum(states.values()), states, counted["late"])


@dataclass(frozen=True, slots=True)
class VariantShare:
    """How many devices in service run a variant; running is None for those that run nothing the catalog knows."""

    running: Running | None
    count: int
    share: float
    fill: str

    @property
    def name(self) -> str:
        return str(self.running) if self.running else "other"

    @property
    def search(self) -> str:
        return f"accepted {self.running.search} class:{self.running.device_class}" if self.running else ""


_FILLS = ("c1", "c2", "c3", "c4", "c5")


def spread(running: Counter[str], names: Mapping[str, Observed]) -> list[VariantShare]:
    """The five variants that most devices run, then everything else."""
    total = running.total()
    known = [(digest, count) for digest, count in running.most_common() if digest in names]
    shown = [
        VariantShare(names[digest].running, count, count / total, fill)
        for (digest, count), fill in zip(known, _FILLS, strict=False)
    ]
    rest = total - sum(line.count for line in shown)
    return [*shown, VariantShare(None, rest, rest / total, "c6")] if rest else shown


def manifests(running: Counter[str], parts: Iterable[tuple[str, ...]]) -> set[str]:
    """Every digest that the page has to name."""
    return {*running, *(key[1] for key in parts)}


@dataclass(frozen=True, slots=True)
class FirstSteps:
    """What a new installation still has to do."""

    tokens: bool
    devices: bool
    models: bool
    rollouts: bool

    @property
    def current(self) -> str:
        order = ("tokens", "devices", "models", "rollouts")
        return next((name for name in order if not getattr(self, name)), "")


def first_steps() -> FirstSteps:
    """One query for each step."""
    return FirstSteps(
        EnrollmentToken.objects.exists(),
        Device.objects.exists(),
        ModelVersion.objects.exists(),
        Rollout.objects.exists(),
    )
