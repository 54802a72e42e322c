"""What the API takes and gives. Sizes are bytes, times ISO 8601 in UTC, latencies milliseconds."""

from datetime import datetime
from typing import Any, Literal

from ninja import Field, Schema

from fleet.api.lists import Number

DeviceClassName = Literal["embedded", "mobile", "edge_server"]


class Problem(Schema):
    detail: str


class MeOut(Schema):
    username: str
    role: str


class DeviceOut(Schema):
    id: str
    name: str
    admission: str
    liveness: str
    simulated: bool
    device_class: str
    hardware: dict[str, Any]
    agent_version: str
    last_seen: datetime | None
    active_manifest: str
    active_since: datetime | None
    desired_manifest: str
    config: dict[str, Any]
    sample_at: datetime | None
    cpu_percent: float | None
    memory_used: int | None
    memory_total: int | None
    storage_free: int | None
    temperature: float | None
    power: float | None
    power_source: str
    latency_p50: float | None
    latency_p95: float | None
    decisions: int
    episodes: int
    successes: int
    cache_lookups: int
    cache_hits: int
    errors: int


class DeviceChange(Schema):
    name: str | None = Field(None, max_length=128)
    config: dict[str, Any] | None = None


class DevicesIn(Schema):
    devices: list[str] = Field(max_length=10_000)


class Changed(Schema):
    changed: int


class SampleOut(Schema):
    at: datetime
    cpu_percent: float | None
    memory_used: int | None
    agent_memory: int | None
    temperature: float | None
    power: float | None
    power_source: str
    energy_per_action: float | None
    decisions: int
    latency_p50: float | None
    latency_p95: float | None
    episodes: int
    successes: int
    cache_lookups: int
    cache_hits: int
    errors: int
    manifest: str


class TokenIn(Schema):
    name: str = Field(max_length=128)
    max_uses: int = 1
    auto_accept: bool = False
    expires_at: datetime | None = None
    group: str | None = None


class TokenOut(Schema):
    id: str
    name: str
    uses: int
    max_uses: int
    auto_accept: bool
    expires_at: datetime | None
    revoked_at: datetime | None


class NewTokenOut(TokenOut):
    token: str


class GroupIn(Schema):
    name: str = Field(max_length=64)
    description: str = Field("", max_length=256)


class GroupOut(Schema):
    name: str
    description: str
    devices: int


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


class JobOut(Schema):
    id: int
    kind: str
    title: str
    state: str
    step: str
    progress: float
    reason: str
    result: dict[str, Any]
    attempts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


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


class TransferLimit(Schema):
    """Bytes of blocks a second to the whole fleet, at most; 0 is no limit."""

    bytes_per_second: int = Field(ge=0)


class RolloutIn(Schema):
    release: int
    group: str | None = None
    devices: list[str] | None = Field(None, max_length=10_000)
    deadline_seconds: int = 7 * 24 * 3600
    back: bool = Field(False, description="order devices that run a newer version of the model to go back")


class PreviewOut(Schema):
    device: str
    device_name: str
    verdict: Literal["update", "already", "blocked", "no_variant"]
    reason: str = Field(description="of `blocked`: what does not fit, with the device's figure and the variant's")
    variant: int | None


class RolloutOut(Schema):
    id: int
    name: str
    release: int
    target: str
    state: str
    reason: str
    counts: dict[str, int] = Field(description="devices by the state of their deployment")
    already: int = Field(description="of those skipped, how many ran the variant when it began; the rest was left out")
    created_at: datetime
    finished_at: datetime | None


class DeploymentOut(Schema):
    id: str
    device: str
    device_name: str
    state: str
    step: str
    progress: float
    reason: str
    waiting: str
    changed_at: datetime
    evidence: dict[str, Any]


class CommandIn(Schema):
    kind: Literal["ping", "benchmark"]
    args: dict[str, Any] = Field(default_factory=dict)
    deadline_seconds: int = Field(120, ge=5, le=86_400)


class CommandOut(Schema):
    id: str
    kind: str
    state: str
    progress: float
    reason: str
    result: dict[str, Any]
    deadline: datetime


class EventOut(Schema):
    at: datetime
    kind: str
    level: str
    text: str
    detail: str
    device_id: str | None
    rollout_id: int | None
