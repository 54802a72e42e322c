"""Who uses the server's inference: one page of devices, and all of them together."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from fleet.dashboard import listing
from fleet.devices.models import Device
from fleet.inference import usage
from fleet.inference.usage import Used

_SORTS = {
    "requests": "requests_",
    "answered": "answered_",
    "refused": "refusals_",
    "sent": "bytes_in_",
    "slowest": "slowest_",
    "last": "last_at_",
}
SORTS = tuple(_SORTS)


@dataclass(frozen=True, slots=True)
class Row:
    """One device's last day; without a device, that of whoever came without a valid login."""

    device: Device | None
    id: str
    used: Used


@dataclass(frozen=True, slots=True)
class Users:
    rows: list[Row]
    order: listing.Order
    pager: listing.Pager
    state: listing.State


def users(params: Mapping[str, str], now: datetime) -> Users:
    """Three queries, whatever the number of devices."""
    order = listing.order(params, SORTS, "-requests")
    rows = usage.by_device(now)
    pager = listing.pager(params, rows.count(), 50)
    column = ("-" if order.descending else "") + _SORTS[order.column]
    page = list(rows.order_by(column, "device")[pager.start : pager.end])
    devices = Device.objects.only("name", "mode", "retired_at").in_bulk([row["device"] for row in page])
    state = listing.State(
        {
            "sort": "" if str(order) == "-requests" else str(order),
            "page": str(pager.number) if pager.number > 1 else "",
        }
    )
    return Users([Row(devices.get(row["device"]), row["device"], usage.used(row)) for row in page], order, pager, state)


@dataclass(frozen=True, slots=True)
class Together:
    """All devices' last day, how many asked, how many are in hybrid mode now, and today's bytes against the quota."""

    used: Used
    devices: int
    hybrid: int
    today: int


def together(now: datetime) -> Together:
    """Three queries."""
    used, devices = usage.total(now)
    hybrid = Device.objects.filter(retired_at=None, mode="hybrid").count()
    return Together(used, devices, hybrid, usage.today(now))
