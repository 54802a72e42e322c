"""Budgets of memory, storage and compute: what fits is decided before a byte is fetched. Pure."""

import math
from dataclasses import dataclass

from agent.wire.hardware import Hardware

#: A model may take this share of the device's memory; the rest is for the system, the agent and what else runs.
MEMORY_SHARE = 0.75
#: Storage that an update leaves free, in bytes: a full disk stops more than the update.
STORAGE_RESERVE = 32 * 1024**2


@dataclass(frozen=True, slots=True)
class Budget:
    """What a model may use: bytes of memory, bytes of storage that are free now, threads of a decision."""

    memory: int
    storage: int
    threads: int


@dataclass(frozen=True, slots=True)
class Need:
    """What a variant asks for: its peak memory (0: not measured) and the bytes an update writes."""

    memory: int
    storage: int


def budget(hardware: Hardware, free_storage: int, threads: int = 0) -> Budget:
    """threads 0 takes the whole cores there are; more threads than cores only wait for each other."""
    cores = max(1, math.floor(hardware.cores))
    return Budget(int(hardware.memory_bytes * MEMORY_SHARE), free_storage, min(threads, cores) if threads else cores)


def misfits(need: Need, budget: Budget) -> list[str]:
    """Why the variant does not fit, one sentence for each reason; empty when it fits."""
    reasons = []
    if need.memory > budget.memory:
        reasons.append(
            f"The model needs {_mib(need.memory)} of memory; a model may take {_mib(budget.memory)} on this device."
        )
    if need.storage + STORAGE_RESERVE > budget.storage:
        reasons.append(
            f"The update writes {_mib(need.storage)} and leaves {_mib(STORAGE_RESERVE)} free; "
            f"{_mib(budget.storage)} are free on this device."
        )
    return reasons


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
