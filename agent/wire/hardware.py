"""What a device is made of, and the class that follows from it."""

import math
from enum import StrEnum

import msgspec

GIB = 1024**3


class DeviceClass(StrEnum):
    EMBEDDED = "embedded"
    MOBILE = "mobile"
    EDGE_SERVER = "edge_server"


class Hardware(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of a device, after container limits. Sizes in bytes; cores may be a fraction under a CPU quota."""

    cores: float
    memory_bytes: int
    storage_bytes: int
    platform: str = ""
    board: str = ""
    accelerators: tuple[str, ...] = ()
    sensors: tuple[str, ...] = ()
    #: True when a simulated device declares these facts and does not measure them.
    declared: bool = False


def nominal_gib(memory_bytes: int) -> int:
    """The size a board is sold as: a 3.7 GiB board is a 4 (the kernel and the GPU keep the rest)."""
    return math.ceil(memory_bytes / GIB)


def classify(hardware: Hardware) -> DeviceClass:
    """The first rule that holds: embedded (≤ 4 cores, ≤ 4 GB), mobile (≤ 8 cores, ≤ 16 GB), else edge server."""
    memory = nominal_gib(hardware.memory_bytes)
    if hardware.cores <= 4 and memory <= 4:
        return DeviceClass.EMBEDDED
    if hardware.cores <= 8 and memory <= 16:
        return DeviceClass.MOBILE
    return DeviceClass.EDGE_SERVER
