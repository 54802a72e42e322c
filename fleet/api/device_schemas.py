"""What the API takes and gives of devices and their enrollment. Sizes are bytes, latencies milliseconds."""

from datetime import datetime
from typing import Any, Literal

import msgspec
from ninja import Field, Schema

from agent.wire import restraints, tags
from agent.wire.messages import Restraint


class RestraintOut(Schema):
    """A step taken to stay within a budget: bytes, percent of all cores, W or °C. words and because say it."""

    step: str
    budget: str
    since: datetime
    used: float
    limit: float
    level: float = 0
    source: str = ""
    words: str
    because: str

    @staticmethod
    def resolve_words(each) -> str:
        return restraints.doing(each)

    @staticmethod
    def resolve_because(each) -> str:
        return restraints.why(each)


class DeviceOut(Schema):
    id: str
    name: str
    tags: dict[str, str] = Field(description="by their names; of a bare tag the value is empty")
    admission: str
    liveness: str
    simulated: bool
    device_class: str
    hardware: dict[str, Any]
    agent_version: str
    mode: str
    last_seen: datetime | None
    active_manifest: str
    active_since: datetime | None
    runtime: dict[str, Any]
    desired_manifest: str
    config: dict[str, Any]
    time_zone: str
    pinned: str
    sample_at: datetime | None
    cpu_percent: float | None
    memory_used: int | None
    memory_total: int | None
    storage_free: int | None
    temperature: float | None
    power: float | None
    power_source: str
    energy_per_action: float | None
    latency_p50: float | None
    latency_p95: float | None
    decisions: int
    episodes: int
    successes: int
    cache_lookups: int
    cache_hits: int
    errors: int
    mode: str
    restraints: list[RestraintOut]

    @staticmethod
    def resolve_restraints(device) -> list[Restraint]:
        return msgspec.convert(device.restraints, list[Restraint])

    @staticmethod
    def resolve_tags(device) -> dict[str, str]:
        return {tag.key: tag.value for tag in device.tags.all()}


class DeviceChange(Schema):
    name: str | None = Field(None, max_length=128)
    tags: list[str] | None = Field(None, max_length=32, description="all that it has from now on, as in `site=berlin`")
    config: dict[str, Any] | None = None
    confirmed: bool = Field(False, description="needed to set a device to hybrid: its observations leave it")
    time_zone: str | None = Field(None, max_length=64, description="as in Europe/Berlin; empty: each rollout's own")
    pinned: str | None = Field(None, max_length=200, description="why rollouts leave it out; empty: they do not")


class DevicesIn(Schema):
    devices: list[str] = Field(max_length=10_000)


class TagsIn(Schema):
    """Of the devices named, or of those that a search finds."""

    devices: list[str] | None = Field(None, max_length=10_000)
    search: str | None = Field(None, max_length=500)
    add: list[str] = Field([], max_length=32, description="as in `site=berlin`")
    remove: list[str] = Field([], max_length=32, description="`site`, or only where it has a value: `site=berlin`")


class TimeZoneIn(Schema):
    time_zone: str = Field(max_length=64, description="as in Europe/Berlin; empty: each rollout's own")


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
    remote_asked: int
    remote_answered: int
    remote_bytes: int
    manifest: str


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


class TokenIn(Schema):
    name: str = Field(max_length=128)
    max_uses: int = 1
    auto_accept: bool = False
    expires_at: datetime | None = None
    group: str | None = None
    tags: list[str] = Field([], max_length=32, description="of every device that comes with it, as in `site=berlin`")


class TokenOut(Schema):
    id: str
    name: str
    uses: int
    max_uses: int
    auto_accept: bool
    expires_at: datetime | None
    revoked_at: datetime | None
    tags: list[str]

    @staticmethod
    def resolve_tags(token) -> list[str]:
        return [tags.written(*each) for each in token.tags.items()]


class NewTokenOut(TokenOut):
    token: str
