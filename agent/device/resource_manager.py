"""Budgets of memory, storage and compute: what fits (`agent.wire.fit`) is decided before a byte is fetched. Pure."""

import math
from dataclasses import dataclass

from agent.wire.fit import Room, memory_budget
from agent.wire.hardware import Hardware


@dataclass(frozen=True, slots=True)
class Budget(Room):
    """What a model may use: bytes of memory, bytes of storage that are free now, threads of a decision."""

    memory: int
    storage: int
    threads: int


def budget(hardware: Hardware, free_storage: int, threads: int = 0) -> Budget:
    """threads 0 takes the whole cores there are; more threads than cores only wait for each other."""
    cores = max(1, math.floor(hardware.cores))
    return Budget(memory_budget(hardware.memory_bytes), free_storage, min(threads, cores) if threads else cores)
