"""The fleet in one look."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Case, Count, IntegerField, Max, Q, Sum, Value, When

from agent.wire.states import Admission
from fleet.catalog.models import ModelVersion
from fleet.dashboard.figures import share
from fleet.dashboard.scale import Ruler, ruler
from fleet.dashboard.selectors.models import devices_by_version
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
    """Devices in service, by class; and what all of them together reported last.

    late are the online ones whose p95 is above the promise; timed the online ones that reported a latency. power is
    the sum of what was reported, in watts, by `powered` devices, `estimated` of which did not measure it.
    """

    classes: list[ClassLine]
    total: ClassLine
    timed: int
    highest_p95: float | None
    episodes: int
    successes: int
    decisions: int
    errors: int
    power: float | None
    powered: int
    estimated: int

    @property
    def success(self) -> float | None:
        return share(self.successes, self.episodes)

    @property
    def on_time(self) -> float | None:
        return share(self.timed - self.total.late, self.timed)


def fleet(now: datetime, promise_ms: float) -> Fleet:
    """One query."""
    online = query(Liveness.ONLINE, now)
    rows = (
        Device.objects.filter(retired_at=None, admission=Admission.ACCEPTED)
        .order_by()
        .values("device_class")
        .annotate(
            # Not called by the bare word: a later condition on `online` would then mean the count.
            **{f"n_{state}": Count("pk", filter=query(Liveness(state), now)) for state in STATES},
            late=Count("pk", filter=online & Q(latency_p95__gt=promise_ms)),
            timed=Count("pk", filter=online & Q(latency_p95__isnull=False)),
            highest=Max("latency_p95", filter=online),
            watts=Sum("power", filter=online),
            powered=Count("pk", filter=online & Q(power__isnull=False)),
            estimated=Count("pk", filter=online & Q(power__isnull=False, power_source="estimated")),
            **{f"{name}_": Sum(name) for name in ("episodes", "successes", "decisions", "errors")},
        )
    )
    by_class = {row["device_class"]: row for row in rows}
    lines = [_line(name, by_class[name]) for name in CLASS_LABELS if name in by_class]

    def added(name: str) -> int:
        return sum(row[name] or 0 for row in by_class.values())

    def known(name: str) -> list[float]:
        return [row[name] for row in by_class.values() if row[name] is not None]

    total = ClassLine(
        "all", sum(line.total for line in lines), {state: added(f"n_{state}") for state in STATES}, added("late")
    )
    return Fleet(
        classes=lines,
        total=total,
        timed=added("timed"),
        highest_p95=max(known("highest"), default=None),
        episodes=added("episodes_"),
        successes=added("successes_"),
        decisions=added("decisions_"),
        errors=added("errors_"),
        power=sum(known("watts")) if known("watts") else None,
        powered=added("powered"),
        estimated=added("estimated"),
    )


def _line(name: str, row: dict) -> ClassLine:
    states = {state: row[f"n_{state}"] for state in STATES}
    return ClassLine(name, sum(states.values()), states, row["late"])


@dataclass(frozen=True, slots=True)
class Bin:
    """Devices whose p95 lies between two latencies: a bar of the histogram, in percent of the drawing."""

    label: str
    count: int
    x: str
    width: str
    y: str
    height: str
    late: bool


@dataclass(frozen=True, slots=True)
class Histogram:
    """Latest p95 of the online devices against the promise. `peak` is the tallest bar's count."""

    bins: list[Bin]
    ruler: Ruler
    peak: int
    total: int


#: Bars up to a ruler's end; what is slower still stands in the last one.
BINS = 30


def histogram(now: datetime, promise_ms: float) -> Histogram | None:
    """None when no online device reported a latency. One query."""
    measured = ruler(promise_ms)
    width = measured.top / BINS
    rows = (
        Device.objects.filter(query(Liveness.ONLINE, now), retired_at=None, admission=Admission.ACCEPTED)
        .filter(latency_p95__isnull=False)
        .order_by()
        .annotate(
            bin=Case(
                *[When(latency_p95__lt=width * (number + 1), then=Value(number)) for number in range(BINS - 1)],
                default=Value(BINS - 1),
                output_field=IntegerField(),
            )
        )
        .values_list("bin")
        .annotate(Count("pk"))
    )
    counts = dict(rows)
    if not counts:
        return None
    peak = max(counts.values())
    bins = []
    for number, count in sorted(counts.items()):
        low, high = width * number, width * (number + 1)
        tall = count / peak * 100
        label = f"{low:g} ms and more" if number == BINS - 1 else f"{low:g} to {high:g} ms"
        bins.append(
            Bin(
                label,
                count,
                f"{number / BINS * 100:.3f}",
                f"{100 / BINS - 0.3:.3f}",
                f"{100 - tall:.2f}",
                f"{tall:.2f}",
                low >= promise_ms,
            )
        )
    return Histogram(bins, measured, peak, sum(counts.values()))


@dataclass(frozen=True, slots=True)
class VersionShare:
    """How many devices in service run a version; name is empty for those that run nothing the catalog knows."""

    model: str
    number: int
    count: int
    share: float
    fill: str


_FILLS = ("c1", "c2", "c3", "c4", "c5")


def version_spread(total: int) -> list[VersionShare]:
    """The five versions that most devices run, then everything else; two queries."""
    counted: Counter[tuple[str, int]] = devices_by_version()
    shown = [
        VersionShare(model, number, count, count / total if total else 0.0, fill)
        for ((model, number), count), fill in zip(counted.most_common(len(_FILLS)), _FILLS, strict=False)
    ]
    rest = total - sum(line.count for line in shown)
    if rest > 0 and total:
        shown.append(VersionShare("", 0, rest, rest / total, "c6"))
    return shown


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
