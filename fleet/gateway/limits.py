"""How much of the network the blocks may take: for the whole fleet, and for one device."""

from django.db import transaction

from fleet import units
from fleet.audit.services import record
from fleet.devices.models import Device
from fleet.errors import Refused
from fleet.gateway.models import TransferLimit

#: Less than a block in ten seconds would time out everywhere.
LEAST = 16 * 1024


def fleet_rate() -> int:
    """Bytes of blocks a second that the gateway publishes at most; 0 is no limit."""
    return TransferLimit.objects.filter(pk=1).values_list("bytes_per_second", flat=True).first() or 0


@transaction.atomic
def set_fleet_rate(bytes_per_second: int, by) -> None:
    """Takes effect within seconds. Raises Refused for a rate at which nothing would arrive."""
    if bytes_per_second and not LEAST <= bytes_per_second <= 2**50:
        raise Refused(f"The limit is at least {LEAST:,} bytes a second, or 0 for none.")
    TransferLimit.objects.update_or_create(pk=1, defaults={"bytes_per_second": bytes_per_second})
    words = f"{units.file_words(bytes_per_second)} a second at most" if bytes_per_second else "as fast as it goes"
    record("transfer.limit", f"Blocks to the fleet: {words}", actor=by)


def rate_of(device: Device) -> float:
    """The device's own limit, in bytes a second; 0 is none."""
    rate = device.config.get("transfer_rate", 0)
    return float(rate) if isinstance(rate, int | float) else 0.0
