"""Trials as pages show them. Every latency of one class is that of one moment: the original's, as its own was timed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from agent.wire.hardware import DeviceClass
from fleet.catalog.models import ModelVersion, Release, Trial
from fleet.dashboard import details
from fleet.dashboard.recipes import recipe_words

CLASSES = tuple(value.value for value in DeviceClass)


@dataclass(frozen=True, slots=True)
class Measured:
    """One trial. Each figure is None when it was not measured; success and its interval are shares from 0 to 1.

    bytes is the model file, transfer what a device fetches: that file, golden observations and its card, if any.
    ratio_p50 is its latency as a multiple of the original's, both timed in turn; low and high are 95 % intervals.
    moment is what its latency was multiplied by to stand beside the original's. job judged it last, by these gates
    (fleet.optimizer.verdict.Limits). devices: what devices themselves have measured of it. releases: those it is in.
    """

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
    transfer: int | None
    compressed_bytes: int | None
    p50: float | None
    p95: float | None
    ratio_p50: float | None
    ratio_low: float | None
    ratio_high: float | None
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
    stored: Mapping[str, Any]
    lineage: Mapping[str, Any]
    job: int | None = None
    gates: Mapping[str, Any] | None = None
    number: int = 0
    moment: float = 1.0
    devices: tuple[details.Row, ...] = ()
    releases: tuple[Release, ...] = ()

    @property
    def usable(self) -> bool:
        return self.verdict in ("won", "passed")

    @property
    def half(self) -> float | None:
        """Half the width of the success interval, in points."""
        if self.low is None or self.high is None:
            return None
        return (self.high - self.low) * 50

    @property
    def groups(self) -> list[details.Group]:
        return details.measured(self.stored, self.moment)

    @property
    def origin(self) -> list[details.Row]:
        return details.origin(self.lineage, self.recipe)

    @property
    def where(self) -> str:
        return details.where(self.lineage)

    @property
    def measured_at(self) -> datetime | None:
        return details.measured_at(self.lineage)


def measured_of(trial: Trial) -> Measured:
    variant, job = getattr(trial, "variant", None), trial.job
    shown = shown_as(trial, trial.pk, trial.device_class)
    return replace(
        shown,
        variant=variant.pk if variant else None,
        digest=variant.manifest_digest if variant else "",
        transfer=variant.bytes if variant else None,
        job=job.pk if job else None,
        gates=job.result.get("gates") if job else None,
    )


def shown_as(trial: Any, number: int, device_class: str) -> Measured:
    """Of a stored trial, or of one as the optimizer gives it: both have these attributes."""
    got = trial.figures
    return Measured(
        pk=number,
        name=trial.name,
        device_class=device_class,
        verdict=trial.verdict,
        reason=trial.reason,
        score=trial.score,
        recipe=recipe_words(trial.recipe),
        original=bool(trial.recipe.get("original")) or trial.name == "original",
        variant=None,
        digest="",
        transfer=None,
        bytes=got.get("bytes"),
        compressed_bytes=got.get("compressed_bytes"),
        # 0 stands for a figure that was not reached before the trial failed.
        p50=got.get("p50_ms") or None,
        p95=got.get("p95_ms") or None,
        ratio_p50=got.get("ratio_p50"),
        ratio_low=got.get("ratio_low"),
        ratio_high=got.get("ratio_high"),
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
        stored=got,
        lineage=trial.lineage,
    )


def beside(one: Measured, original: Measured | None) -> Measured:
    """The same trial with the latency it would have had in the moment in which the original's was taken.

    Milliseconds of two trials are of two moments of a busy machine: by them a variant can look slower that was faster
    each time both were timed in turn. So p50 is the original's times the ratio, as the verdict counts it
    (fleet.optimizer.verdict.score), and p95 moves with it. Trials without a ratio are left as they were timed.
    """
    if original is None or one.original or not one.p50 or not original.p50 or not one.ratio_p50:
        return one
    moment = original.p50 * one.ratio_p50 / one.p50
    p95 = one.p95 * moment if one.p95 is not None else None
    return replace(one, p50=one.p50 * moment, p95=p95, moment=moment)


def compared(measured: Sequence[Measured]) -> list[Measured]:
    """The same trials in the same order, each beside the original of its class, and numbered within its class."""
    originals = {one.device_class: one for one in measured if one.original}
    counted: dict[str, int] = {}
    shown = []
    for one in measured:
        counted[one.device_class] = number = counted.get(one.device_class, 0) + 1
        shown.append(replace(beside(one, originals.get(one.device_class)), number=number))
    return shown


def with_evidence(
    measured: Sequence[Measured], devices: Mapping[str, tuple[details.Row, ...]], releases: Sequence[Release]
) -> list[Measured]:
    """The same trials with what devices measured (by manifest digest) and the releases that they are in."""
    taken: dict[int, list[Release]] = {}
    for release in releases:
        for variant in release.variants.all():
            taken.setdefault(variant.pk, []).append(release)
    return [
        replace(one, devices=devices.get(one.digest, ()), releases=tuple(taken.get(one.variant or 0, ())))
        for one in measured
    ]


def trials(version: ModelVersion) -> list[Measured]:
    """Every trial, in order; one query."""
    return ordered([measured_of(row) for row in version.trials.select_related("variant", "job")])


def ordered(measured: Sequence[Measured]) -> list[Measured]:
    """The original of each class first, then by verdict and score; each beside its original, and numbered."""
    places = {"won": 0, "passed": 1, "lost": 2, "failed": 3}
    return compared(
        sorted(
            measured,
            key=lambda one: (
                CLASSES.index(one.device_class) if one.device_class in CLASSES else 9,
                not one.original,
                places.get(one.verdict, 9),
                one.score if one.score is not None else float("inf"),
                one.pk,
            ),
        )
    )
