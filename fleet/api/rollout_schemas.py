"""What the API takes and gives of rollouts. Shares are in percent, times in seconds."""

from datetime import datetime, time, timedelta
from typing import Any, Literal

from ninja import Field, Schema
from pydantic import AwareDatetime

from fleet.errors import Refused
from fleet.rollouts.pace import DAYS, Window
from fleet.rollouts.plan import PRESETS, PhasePlan, Terms, with_action
from fleet.rollouts.policy import Action, Limits

OnError = Literal["pause", "abort", "roll_back"]


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


class PhaseIn(Schema):
    """How far a phase goes, and what it is held to. Limits against the variant before are of the same devices."""

    percent: float | None = Field(None, description="up to so much of the rollout's devices")
    devices: int | None = Field(None, description="up to so many of the rollout's devices; this or percent")
    success_percent: float = Field(100, description="of its devices that have to take it before the next opens")
    failures_percent: float | None = Field(10, description="from this share of failed devices on, on_error is done")
    on_error: OnError = "pause"
    soak_seconds: int = 0
    latency_rise_percent: float | None = Field(None, description="of the p95 latency of a decision")
    error_rise_points: float | None = Field(None, description="of decisions that fail or answer NaN")
    success_loss_points: float | None = Field(None, description="of episodes that succeed")
    energy_rise_percent: float | None = Field(None, description="of joules per action")

    def plan(self) -> PhasePlan:
        return PhasePlan(
            percent=self.percent,
            count=self.devices,
            limits=Limits(
                success=self.success_percent / 100,
                failures=_share(self.failures_percent),
                on_error=Action(self.on_error),
                soak=timedelta(seconds=self.soak_seconds),
                latency_rise=_share(self.latency_rise_percent),
                error_rise=_share(self.error_rise_points),
                success_loss=_share(self.success_loss_points),
                energy_rise=_share(self.energy_rise_percent),
            ),
        )


class WindowIn(Schema):
    """By the clock where each device is; one that ends before it starts goes past midnight."""

    start: time
    end: time
    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field(
        default_factory=list, description="on which it starts; none is every day"
    )

    def window(self) -> Window:
        if self.start.tzinfo or self.end.tzinfo:
            raise Refused("A window's times have no time zone: they are by each device's own clock.")
        return Window(self.start, self.end, frozenset(DAYS.index(day) for day in self.days))


class TermsIn(Schema):
    most_in_flight: int = Field(0, description="0 is no limit")
    devices_per_minute: float = Field(0, description="0 is no limit; each device's turn comes with jitter")
    window: WindowIn | None = None
    time_zone: str = Field("UTC", max_length=64, description="of devices that have none of their own")
    only_idle: bool = False
    starts_at: AwareDatetime | None = None
    continuous: bool = Field(False, description="take in devices that join the group later")
    needs_approval: bool = Field(False, description="by a second person, before it begins")

    def terms(self) -> Terms:
        return Terms(
            most_in_flight=self.most_in_flight,
            per_minute=self.devices_per_minute,
            window=self.window.window() if self.window else None,
            zone_name=self.time_zone,
            only_idle=self.only_idle,
            starts_at=self.starts_at,
            continuous=self.continuous,
            needs_approval=self.needs_approval,
        )


class RolloutIn(TermsIn):
    release: int
    group: str | None = None
    devices: list[str] | None = Field(None, max_length=10_000)
    deadline_seconds: int = Field(7 * 24 * 3600, description="of each device, from when it is told")
    back: bool = Field(False, description="order devices that run a newer version of the model to go back")
    preset: Literal["once", "canary", "careful", "half"] | None = Field(None, description="in place of phases")
    on_error: OnError = Field("pause", description="of a preset's phases")
    phases: list[PhaseIn] | None = Field(None, max_length=10, description="all at once when absent")

    def plans(self) -> tuple[PhasePlan, ...]:
        if self.preset and self.phases:
            raise Refused("Name a preset or phases, not both.")
        if self.preset:
            return with_action(PRESETS[self.preset][1], on_error=Action(self.on_error))
        return tuple(phase.plan() for phase in self.phases or ())


class PreviewOut(Schema):
    device: str
    device_name: str
    verdict: Literal["update", "already", "blocked", "no_variant", "pinned"]
    reason: str = Field(description="of `blocked`: what does not fit, with the device's figure and the variant's")
    variant: int | None


class EstimateOut(Schema):
    """Estimates; waits for devices that are away, for windows and for robots are not in them."""

    bytes_once: int = Field(description="published when devices fetch together")
    bytes_each: int = Field(description="what all devices take in all, less the parts that they have")
    seconds: float
    seconds_per_device: float
    known: bool = Field(description="whether that is from earlier deployments")


class PhaseOut(PhaseIn):
    number: int = Field(description="from 1")
    state: Literal["waiting", "open", "passed"]
    counts: dict[str, int] = Field(description="devices by the state of their deployment")
    offline: int
    opened_at: datetime | None
    settled_at: datetime | None = Field(description="when enough had taken it: the soak time begins")
    passed_at: datetime | None
    figures: dict[str, Any] = Field(description="before and after on the same devices, where they are compared")


class RolloutOut(Schema):
    id: int
    name: str
    release: int
    target: str
    state: str
    reason: str
    counts: dict[str, int] = Field(description="devices by the state of their deployment")
    already: int = Field(description="of those skipped, how many ran the variant when it began; the rest was left out")
    phase: int = Field(description="the one that was opened last, from 1")
    phases: list[PhaseOut]
    most_in_flight: int
    devices_per_minute: float
    window: dict[str, Any] | None
    time_zone: str
    only_idle: bool
    continuous: bool
    needs_approval: bool
    approved_by: str | None
    deadline_seconds: int
    undoes: int | None = Field(description="the rollout whose devices it brings back")
    created_by: str | None
    created_at: datetime
    starts_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None


class WhyOut(Schema):
    reason: str
    count: int
    states: list[str]
    next: str
    advice: str


class ProgressOut(Schema):
    """How fast it goes and what holds it."""

    decision: str = Field(description="what policy says of the open phase now")
    per_minute: float | None = Field(description="devices that took it in the last minutes")
    seconds_left: float | None = Field(description="at that pace, for devices that are there; an estimate")
    failures: list[WhyOut]
    waits: list[WhyOut]


class DeploymentOut(Schema):
    id: str
    device: str
    device_name: str
    phase: int = Field(description="from 1")
    state: str
    step: str
    progress: float
    reason: str
    waiting: str = Field(description="why it waits; empty when it does not")
    next: str = Field(description="when something is tried next")
    advice: str = Field(description="what a person can do")
    deadline: datetime | None
    changed_at: datetime
    evidence: dict[str, Any]
