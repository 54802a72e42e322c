"""What the API takes and gives in more than one of its rooms, and in the small ones. Times are ISO 8601 in UTC."""

from datetime import datetime
from typing import Any, Literal

from ninja import Field, Schema

DeviceClassName = Literal["embedded", "mobile", "edge_server"]


class Problem(Schema):
    detail: str


class SearchProblem(Problem):
    """A search that cannot be read: `at` and `length` are the place in it, in characters from 0."""

    at: int
    length: int
    instead: str = Field(description="what could stand there; empty when there is no guess")


class Changed(Schema):
    changed: int


class MeOut(Schema):
    username: str
    role: str


class ViewIn(Schema):
    name: str = Field(max_length=64)
    address: str = Field(max_length=2000)
    shared: bool = False


class ViewOut(Schema):
    id: int
    name: str
    address: str
    shared: bool
    owner: str


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


class TransferLimit(Schema):
    """Bytes of blocks a second to the whole fleet, at most; 0 is no limit."""

    bytes_per_second: int = Field(ge=0)


class EventOut(Schema):
    at: datetime
    kind: str
    level: str
    text: str
    detail: str
    device_id: str | None
    rollout_id: int | None
