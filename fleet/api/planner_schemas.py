"""What the planner is asked and answers. Sizes are bytes, latencies milliseconds."""

from typing import Literal

from ninja import Field, Schema

from fleet.api.schemas import DeviceClassName


class PlanIn(Schema):
    """What to plan for; each is optional, and so is every number."""

    version: str | None = Field(
        None, max_length=128, description="`model@number`; the one that the device runs if absent"
    )
    device: str | None = Field(None, max_length=128, description="id or name")
    device_class: DeviceClassName | None = None
    given: dict[str, float] = Field(
        default_factory=dict,
        max_length=64,
        description="numbers that go over what is known, by name of the input, in the unit that `inputs` has",
    )


class PlanInputOut(Schema):
    """One number of the plan. given: it came with the request. known, kind, source: what it would be without."""

    name: str
    value: float | None
    unit: str
    given: bool
    known: float | None
    kind: Literal["measured", "reported", "declared", "stated", "estimated", "assumed"] | None
    source: str


class PlanCheckOut(Schema):
    """need ≤ have; null where it is not known, or has no end."""

    name: str
    need: float | None
    have: float | None
    fits: bool | None


class PlanModeOut(Schema):
    """fits is null where it cannot be said without `missing`. Latency is null where it is not known or `endless`."""

    mode: Literal["full", "slim", "hybrid", "cloud"]
    fits: bool | None
    latency_ms: dict[str, float | None] = Field(description="compute, transmit, network, other, total, longest")
    endless: bool
    bandwidth: float | None = Field(description="bytes a second")
    bandwidth_mbit: float | None = Field(description="the same in Mbit/s")
    memory: float | None
    part: float = Field(
        description="of the model, what stays on the device; below 1 it has to be made that small first"
    )
    checks: list[PlanCheckOut]
    use: dict[str, float | None] = Field(description="used / total of each resource")
    objective: float | None
    reasons: list[str]
    would_fit: str
    missing: list[str]
    month_bytes: float | None
    month_joules: float | None


class PlanOut(Schema):
    """fits is of `chosen`: false where nothing fits and it is the nearest, null where it fits as far as is known."""

    chosen: Literal["full", "slim", "hybrid", "cloud"]
    fits: bool | None
    headline: str
    why: str
    rests_on: str = Field(description="what nobody measured, reported or gave; empty when there is nothing")
    compared: str
    month: list[str]
    inputs: list[PlanInputOut]
    modes: list[PlanModeOut]
