"""One version of a model: what was made of it for each class, measured against the original, and why which one won."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext

from fleet.catalog.models import ModelVersion, Release
from fleet.dashboard import figures
from fleet.dashboard.figures import UNKNOWN, Figure
from fleet.dashboard.pareto import Gate, Point
from fleet.dashboard.selectors.trials import CLASSES, Measured
from fleet.devices.models import Device
from fleet.jobs.models import Job
from fleet.rollouts.models import Rollout


@dataclass(frozen=True, slots=True)
class ClassWork:
    """What was tried for one class: `winner` and `original` are None as long as there is none."""

    device_class: str
    trials: list[Measured]
    original: Measured | None
    winner: Measured | None

    @property
    def by_success(self) -> bool:
        return any(one.success is not None for one in self.trials)

    @property
    def points(self) -> list[Point]:
        """For the chart: success in percent where episodes were run, else the cosine similarity in percent."""
        return [point for point in map(self._point, self.trials) if point is not None]

    def _point(self, one: Measured) -> Point | None:
        quality, low, high = self._quality(one)
        latency = one.p95 if one.p95 is not None else one.p50
        if quality is None or latency is None:
            return None
        return Point(
            one.name,
            latency,
            quality,
            low,
            high,
            one.bytes,
            one.verdict == "won",
            one.usable or one.original,
            one.original,
            one.number,
        )

    def _quality(self, one: Measured) -> tuple[float | None, float | None, float | None]:
        """In percent, with its interval. Success is the original's less what was lost in the same episodes.

        The interval is then that of the loss, which the gates are held to. Success by itself has a wider one, and where
        a hopeless trial was given up early it is of other episodes than the original's.
        """
        if not self.by_success:
            return None if one.cosine is None else one.cosine * 100, None, None
        before = self.original.success if self.original else None
        if before is not None and one.loss_points is not None and not one.original:
            low = None if one.loss_high is None else before * 100 - one.loss_high
            high = None if one.loss_low is None else min(before * 100 - one.loss_low, 100.0)
            return before * 100 - one.loss_points, low, high
        return None if one.success is None else one.success * 100, None, None

    @property
    def judged(self) -> Measured:
        """One that the newest job judged: its gates are those that are drawn."""
        return max(self.trials, key=lambda one: (one.job or 0, one.pk))

    @property
    def gate(self) -> Gate | None:
        """The success below which nothing passes; None where no success was measured, or no gate was stored."""
        gates = self.judged.gates
        if self.original is None or self.original.success is None or not gates:
            return None
        whole = gates.get("loss_high") is not None
        allowed = gates["loss_high"] if whole else gates["loss_points"]
        return Gate(self.original.success * 100 - allowed, allowed, whole=whole)

    def limit_ms(self, otherwise: float) -> float:
        """What p95 may be: as the newest job had it, else as given."""
        return float((self.judged.gates or {}).get("latency_ms") or otherwise)

    @property
    def quality(self) -> str:
        return gettext("Task success (%)") if self.by_success else gettext("Cosine similarity to the original (%)")


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
    """A winner's figure and how it moved against the original; better is None where nothing can be said.

    between is the interval of the change in words. before is the original's figure where the row's first cell, which
    has the original of another class, shows another one.
    """

    figure: Figure
    change: Figure
    better: bool | None
    between: str = ""
    before: Figure = UNKNOWN


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the comparison: the original's figure, then one cell for each class with a winner."""

    name: str
    original: Figure
    cells: list[Cell]
    note: str = ""


def comparison(work: Sequence[ClassWork], size: int) -> list[Line]:
    """Winners against the original. Each is compared with the original as measured for its own class.

    `size` is the uploaded file's: what the original weighs when it was no trial itself.
    """
    won = [one for one in work if one.winner]
    shown = next((one.original for one in won if one.original), None)

    def line(name, attribute, show, fallback=None, interval=None, note="") -> Line:
        first = getattr(shown, attribute) if shown else None
        original = show(first if first is not None else fallback)
        cells = []
        for one in won:
            now = getattr(one.winner, attribute)
            before = getattr(one.original, attribute) if one.original else fallback
            change = figures.change(now, before)
            better, between = (interval or _moved)(one.winner, now, before)
            apart = show(before) if show(before) != original else UNKNOWN
            cells.append(Cell(show(now), change, better if change else None, between if change else "", apart))
        return Line(name, original, cells, note)

    return [
        line(gettext("Model file"), "bytes", figures.file_size, size),
        line(
            gettext("To transfer"),
            "transfer",
            figures.file_size,
            note=gettext("with golden observations and its card, if any"),
        ),
        line(gettext("Decision p50"), "p50", figures.milliseconds, interval=_timed),
        line(gettext("Decision p95"), "p95", figures.milliseconds),
        line(gettext("Peak memory"), "peak", figures.memory_size),
    ]


def _moved(winner: Measured, now: float | None, before: float | None) -> tuple[bool | None, str]:
    return (None if now is None or before is None or now == before else now < before), ""


def _timed(winner: Measured, now: float | None, before: float | None) -> tuple[bool | None, str]:
    """Faster or slower only when the whole interval is: less is the noise of the machine."""
    low, high = winner.ratio_low, winner.ratio_high
    if winner.ratio_p50 is None or low is None or high is None or winner.original:
        return _moved(winner, now, before)
    between = gettext("{low} to {high}").format(
        low=figures.signed_percent(low - 1).value, high=figures.signed_percent(high - 1)
    )
    return (True if high < 1 else False if low > 1 else None), between


def episodes(work: Sequence[ClassWork]) -> int | None:
    """How many episodes each success shown was counted in; None when they differ or nothing was counted."""
    counts = {one.episodes for each in work for one in (each.original, each.winner) if one is not None}
    return counts.pop() if len(counts) == 1 else None


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
