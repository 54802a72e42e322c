"""One version of a model: what was made of it for each class, measured against the original, and why which one won."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.wire.hardware import DeviceClass
from fleet.catalog.models import ModelVersion, Release, Trial
from fleet.dashboard import figures
from fleet.dashboard.figures import Figure
from fleet.dashboard.pareto import Point
from fleet.dashboard.recipes import recipe_words
from fleet.devices.models import Device
from fleet.jobs.models import Job
from fleet.rollouts.models import Rollout

CLASSES = tuple(value.value for value in DeviceClass)


@dataclass(frozen=True, slots=True)
class Measured:
    """One trial. Each figure is None when it was not measured; success and its interval are shares from 0 to 1."""

    pk: int
    name: str
    device_class: str
    verdict: str
    reason: str
    score: float | None
    recipe: str
    original: bool
    variant: int | None
    digest: str
    bytes: int | None
    compressed_bytes: int | None
    p50: float | None
    p95: float | None
    ratio_p50: float | None
    peak: int | None
    cosine: float | None
    max_error: float | None
    success: float | None
    low: float | None
    high: float | None
    episodes: int | None
    loss_points: float | None
    loss_low: float | None
    loss_high: float | None

    @property
    def usable(self) -> bool:
        return self.verdict in ("won", "passed")

    @property
    def half(self) -> float | None:
        """Half the width of the success interval, in points."""
        if self.low is None or self.high is None:
            return None
        return (self.high - self.low) * 50


def measured_of(trial: Trial) -> Measured:
    got = trial.figures
    variant = getattr(trial, "variant", None)
    return Measured(
        pk=trial.pk,
        name=trial.name,
        device_class=trial.device_class,
        verdict=trial.verdict,
        reason=trial.reason,
        score=trial.score,
        recipe=recipe_words(trial.recipe),
        original=bool(trial.recipe.get("original")) or trial.name == "original",
        variant=variant.pk if variant else None,
        digest=variant.manifest_digest if variant else "",
        bytes=got.get("bytes"),
        compressed_bytes=got.get("compressed_bytes"),
        # 0 stands for a figure that was not reached before the trial failed.
        p50=got.get("p50_ms") or None,
        p95=got.get("p95_ms") or None,
        ratio_p50=got.get("ratio_p50"),
        peak=got.get("peak_bytes") or None,
        cosine=got.get("cosine"),
        max_error=got.get("max_error"),
        success=got.get("success"),
        low=got.get("success_low"),
        high=got.get("success_high"),
        episodes=got.get("episodes") or None,
        loss_points=got.get("loss_points"),
        loss_low=got.get("loss_low"),
        loss_high=got.get("loss_high"),
    )


def trials(version: ModelVersion) -> list[Measured]:
    """Every trial, the original first, then by verdict and score; one query."""
    rows = version.trials.select_related("variant")
    places = {"won": 0, "passed": 1, "lost": 2, "failed": 3}
    measured = [measured_of(row) for row in rows]
    return sorted(
        measured,
        key=lambda one: (
            CLASSES.index(one.device_class) if one.device_class in CLASSES else 9,
            not one.original,
            places.get(one.verdict, 9),
            one.score if one.score is not None else float("inf"),
            one.pk,
        ),
    )


@dataclass(frozen=True, slots=True)
class ClassWork:
    """What was tried for one class: `winner` and `original` are None as long as there is none."""

    device_class: str
    trials: list[Measured]
    original: Measured | None
    winner: Measured | None

    @property
    def points(self) -> list[Point]:
        """For the chart: success in percent where episodes were run, else the cosine similarity in percent."""
        by_success = any(one.success is not None for one in self.trials)
        made = []
        for one in self.trials:
            quality = one.success if by_success else one.cosine
            latency = one.p95 if one.p95 is not None else one.p50
            if quality is None or latency is None:
                continue
            low, high = (one.low, one.high) if by_success else (None, None)
            made.append(
                Point(
                    one.name,
                    latency,
                    quality * 100,
                    None if low is None else low * 100,
                    None if high is None else high * 100,
                    one.bytes,
                    one.verdict == "won",
                    one.usable or one.original,
                    one.original,
                )
            )
        return made

    @property
    def quality(self) -> str:
        by_success = any(one.success is not None for one in self.trials)
        return "Task success (%)" if by_success else "Cosine similarity to the original (%)"


def by_class(measured: Sequence[Measured]) -> list[ClassWork]:
    """The classes that something was tried for, in the order of the classes."""
    work = []
    for name in CLASSES:
        mine = [one for one in measured if one.device_class == name]
        if mine:
            work.append(
                ClassWork(
                    name,
                    mine,
                    next((one for one in mine if one.original), None),
                    next((one for one in mine if one.verdict == "won"), None),
                )
            )
    return work


@dataclass(frozen=True, slots=True)
class Cell:
    """A winner's figure and how it moved against the original; better is None where nothing can be said."""

    figure: Figure
    change: Figure
    better: bool | None


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the comparison: the original's figure, then one cell for each class with a winner."""

    name: str
    original: Figure
    cells: list[Cell]


def comparison(work: Sequence[ClassWork], size: int) -> list[Line]:
    """Winners against the original. Each is compared with the original as measured for its own class.

    `size` is the uploaded file's: what the original weighs when it was no trial itself.
    """
    won = [one for one in work if one.winner]
    shown = next((one.original for one in won if one.original), None)

    def line(name, attribute, show, fallback=None) -> Line:
        cells = []
        for one in won:
            now = getattr(one.winner, attribute)
            before = getattr(one.original, attribute) if one.original else fallback
            change = figures.change(now, before)
            cells.append(Cell(show(now), change, None if not change else now <= before))
        before = getattr(shown, attribute) if shown else None
        return Line(name, show(before if before is not None else fallback), cells)

    return [
        line("Size", "bytes", figures.file_size, size),
        line("Decision p50", "p50", figures.milliseconds),
        line("Decision p95", "p95", figures.milliseconds),
        line("Peak memory", "peak", figures.memory_size),
    ]


def interval_axis(work: Sequence[ClassWork]) -> tuple[float, float]:
    """The shares between which every success interval of these lies, with a little room; for drawing them alike."""
    shown = [one for each in work for one in (each.original, each.winner) if one is not None]
    lows = [one.low for one in shown if one.low is not None]
    highs = [one.high for one in shown if one.high is not None]
    if not lows or not highs:
        return 0.0, 1.0
    return max(min(lows) - 0.01, 0.0), min(max(highs) + 0.01, 1.0)


def releases(version: ModelVersion) -> list[Release]:
    """Newest first, with their variants; two queries."""
    return list(version.releases.select_related("created_by").prefetch_related("variants__trial"))


def rollouts(version: ModelVersion, count: int = 6) -> list[Rollout]:
    return list(Rollout.objects.filter(release__version=version).select_related("release")[:count])


def jobs(version: ModelVersion, count: int = 6) -> list[Job]:
    return list(version.jobs.select_related("device")[:count])


def devices(measured: Sequence[Measured]) -> int:
    """How many devices in service report that they run one of these variants; one query."""
    digests = [one.digest for one in measured if one.digest]
    return Device.objects.filter(retired_at=None, active_manifest__in=digests).count()
