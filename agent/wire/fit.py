"""Whether a variant fits a device: one rule, by which a device accepts and the server assigns. Pure."""

from dataclasses import dataclass

#: A model may take this share of the device's memory; the rest is for the system, the agent and what else runs.
MEMORY_SHARE = 0.75
#: Storage that an update leaves free, in bytes: a full disk stops more than the update.
STORAGE_RESERVE = 32 * 1024**2


@dataclass(frozen=True, slots=True)
class Room:
    """What a model may use on a device: bytes of memory, bytes of storage that are free now. None: not known."""

    memory: int | None
    storage: int | None


@dataclass(frozen=True, slots=True)
class Need:
    """What a variant asks for: its peak memory (0: not measured) and the bytes an update writes."""

    memory: int
    storage: int


def memory_budget(memory_bytes: int, own: int = 0) -> int:
    """Bytes that a model may take of a device's memory; `own` is the budget that an operator gave it, 0: none."""
    share = int(memory_bytes * MEMORY_SHARE)
    return min(share, own) if own else share


def written(size: int) -> int:
    """Bytes that an update to an artifact of `size` writes, beside what runs: its parts, and the whole made of them."""
    return 2 * size


def misfits(need: Need, room: Room) -> list[str]:
    """Why the variant does not fit, one sentence for each reason; empty when it fits, as far as is known."""
    reasons = []
    if room.memory is not None and need.memory > room.memory:
        reasons.append(
            f"The model needs {_mib(need.memory)} of memory; a model may take {_mib(room.memory)} on this device."
        )
    if room.storage is not None and need.storage + STORAGE_RESERVE > room.storage:
        reasons.append(
            f"The update writes {_mib(need.storage)} and leaves {_mib(STORAGE_RESERVE)} free; "
            f"{_mib(room.storage)} are free on this device."
        )
    return reasons


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
