"""What the API gives of the server's own inference. Sizes are bytes, latencies milliseconds."""

from datetime import datetime

from ninja import Schema


class UsedOut(Schema):
    """Latencies are milliseconds of the answered ones; within_ms: 95 % took no longer, absent beyond a second."""

    requests: int
    answered: int
    bytes_in: int
    bytes_out: int
    mean_ms: float | None
    within_ms: int | None
    slowest_ms: float | None
    refused: dict[str, int]
    last_at: datetime | None


class QuotasOut(Schema):
    """0 is no limit."""

    device_requests_per_minute: int
    device_bytes_per_day: int
    fleet_requests_per_minute: int
    fleet_bytes_per_day: int


class InferenceOut(Schema):
    used: UsedOut
    devices: int
    bytes_today: int
    limits: QuotasOut


class InferenceUserOut(Schema):
    device: str
    used: UsedOut
