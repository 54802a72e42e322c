"""The objective by which one variant is better than another: a pure function of what was measured."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Weights:
    """How much latency (α), bytes (β) and missing memory (γ) weigh. Plain numbers: terms are shares of limits."""

    latency: float = 1.0
    size: float = 1.0
    shortage: float = 10.0


DEFAULT = Weights()


def objective(
    *,
    latency_ms: float,
    latency_limit_ms: float,
    size: int,
    size_limit: int,
    memory: int,
    memory_limit: int,
    weights: Weights = DEFAULT,
) -> float:
    """α·latency/limit + β·bytes/limit + γ·max(0, need − resource)/resource; less is better.

    Latency in ms, sizes and memory in bytes, every limit above 0.
    """
    if min(latency_limit_ms, size_limit, memory_limit) <= 0:
        raise ValueError("each limit of the objective must be above 0")
    shortage = max(0, memory - memory_limit) / memory_limit
    return (
        weights.latency * latency_ms / latency_limit_ms + weights.size * size / size_limit + weights.shortage * shortage
    )
