"""Reads who used the server's inference in the last day: for the page and for the API."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, Max, Q, QuerySet, Sum
from django.utils import timezone

from fleet.inference.models import REASONS, WITHIN_MS, Usage

#: Hours that are looked at, the present one included.
HOURS = 24
_SUMS = (
    "requests",
    "answered",
    "bytes_in",
    "bytes_out",
    "milliseconds",
    *(f"within_{limit}" for limit in WITHIN_MS),
    *(f"refused_{reason}" for reason in REASONS),
)


@dataclass(frozen=True, slots=True)
class Used:
    """Sums of some hours. Latencies are None where nothing was answered."""

    requests: int
    answered: int
    bytes_in: int
    bytes_out: int
    mean_ms: float | None
    #: 95 % of the answers took no longer; None beyond the last of WITHIN_MS.
    within_ms: int | None
    slowest_ms: float | None
    refused: dict[str, int]
    last_at: datetime | None

    @property
    def share(self) -> float | None:
        """Of the requests, those that were answered; None without any."""
        return self.answered / self.requests if self.requests else None

    @property
    def refusals(self) -> int:
        return sum(self.refused.values())

    @property
    def why(self) -> list[tuple[str, int]]:
        """The reasons in words, the most frequent first."""
        return [(REASONS[name], count) for name, count in sorted(self.refused.items(), key=lambda each: -each[1])]


@dataclass(frozen=True, slots=True)
class Limits:
    """The quotas that hold; 0 is none."""

    device_requests_per_minute: int
    device_bytes_per_day: int
    fleet_requests_per_minute: int
    fleet_bytes_per_day: int


def limits() -> Limits:
    return Limits(
        settings.INFERENCE_DEVICE_REQUESTS,
        settings.INFERENCE_DEVICE_BYTES,
        settings.INFERENCE_FLEET_REQUESTS,
        settings.INFERENCE_FLEET_BYTES,
    )


def _recent(now: datetime) -> QuerySet[Usage]:
    return Usage.objects.filter(hour__gt=now - timedelta(hours=HOURS)).order_by()


def _summed() -> dict[str, Any]:
    return {f"{name}_": Sum(name) for name in _SUMS} | {"slowest_": Max("slowest"), "last_at_": Max("last_at")}


def total(now: datetime) -> tuple[Used, int]:
    """Of all together, and how many devices asked. One query."""
    devices = Count("device", distinct=True, filter=~Q(device=""))
    sums = _recent(now).aggregate(devices_=devices, **_summed())
    return used(sums), sums["devices_"]


def today(now: datetime) -> int:
    """Bytes of all devices since midnight UTC: what the fleet's quota counts. One query."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return Usage.objects.filter(hour__gte=midnight).exclude(device="").aggregate(sum_=Sum("bytes_in"))["sum_"] or 0


def by_device(now: datetime | None = None) -> QuerySet:
    """Dicts of sums, one for each device that asked; those without a login come under an empty id."""
    rows = _recent(now or timezone.now()).values("device").annotate(**_summed())
    return rows.annotate(refusals_=sum((Sum(f"refused_{reason}") for reason in REASONS), start=Sum("requests") * 0))


def used(sums: Mapping[str, Any]) -> Used:
    answered = sums["answered_"] or 0
    within = (limit for limit in WITHIN_MS if answered and sums[f"within_{limit}_"] >= 0.95 * answered)
    return Used(
        requests=sums["requests_"] or 0,
        answered=answered,
        bytes_in=sums["bytes_in_"] or 0,
        bytes_out=sums["bytes_out_"] or 0,
        mean_ms=sums["milliseconds_"] / answered if answered else None,
        within_ms=next(within, None),
        slowest_ms=sums["slowest_"] if answered else None,
        refused={reason: sums[f"refused_{reason}_"] for reason in REASONS if sums[f"refused_{reason}_"]},
        last_at=sums["last_at_"],
    )
