"""What the API takes and gives of models: versions, trials, variants, releases. Sizes are bytes."""

from datetime import datetime
from typing import Any, Literal

from ninja import Field, Schema

from fleet.api.lists import Number
from fleet.api.schemas import DeviceClassName


class VersionOut(Schema):
    id: int
    model: str
    number: int
    format: str
    file_name: str
    size: int
    digest: str
    evaluator: str
    notes: str
    created_at: datetime


class WeightsIn(Schema):
    """Of the objective: latency against its limit, size against the original's, memory that is missing."""

    latency: float | None = None
    size: float | None = None
    shortage: float | None = None


class PartIn(Schema):
    """Of a part that the policy card names; what is missing follows the whole model's."""

    bits: int | None = None
    pruning: float | None = None


class OptimizeIn(Schema):
    device_class: DeviceClassName
    goal: Literal["balanced", "realtime", "accuracy"] = "balanced"
    budget: Literal["brief", "quick", "full"] = "quick"
    compression: float | None = None
    bits: int | None = None
    pruning: float | None = None
    max_success_loss: float | None = None
    max_latency_ms: float | None = None
    max_bytes: int | None = None
    max_memory_bytes: int | None = None
    weights: WeightsIn | None = None
    parts: dict[str, PartIn] | None = None


class TrialOut(Schema):
    id: int
    name: str
    device_class: str
    verdict: str
    reason: str
    score: float | None
    recipe: dict[str, Any]
    figures: dict[str, Any]
    lineage: dict[str, Any] = Field(
        description="digests of upload (`input`), card and evaluation set, versions of tools, processor and machine,"
        " when it was measured, and the job that measured it, with who asked for that and when"
    )
    job: int | None = Field(description="the job that judged it last")
    variant: int | None


class VariantOut(Schema):
    id: int
    trial: int
    device_class: str
    name: str
    manifest_digest: str
    bytes: int
    proposed: bool
    recipe: dict[str, Any]
    figures: dict[str, Any]
    lineage: dict[str, Any] = Field(description="its trial's")
    job: int | None = Field(description="the job that judged it last")


class ReleaseIn(Schema):
    variants: list[Number] | None = Field(
        None, max_length=16, description="variant ids, at most one per class; the winners when absent"
    )
    notes: str = Field("", max_length=512, description="needed where a variant has not won: why it is released")
    confirmed: bool = Field(False, description="needed for a version without evaluation set and evaluator")


class ReleaseOut(Schema):
    id: int
    version: int
    number: int
    notes: str
    created_by: str | None
    created_at: datetime
    variants: list[VariantOut]
