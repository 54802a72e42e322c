"""Who may be released, who wins, and why: pure functions of what was measured."""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.wire.hardware import GIB, DeviceClass
from fleet.optimizer.contract import Constraints
from fleet.optimizer.evaluation import Figures, loss_words
from fleet.optimizer.objective import objective

#: Memory of the largest device of a class.
CLASS_MEMORY = {DeviceClass.EMBEDDED: 4 * GIB, DeviceClass.MOBILE: 16 * GIB, DeviceClass.EDGE_SERVER: 64 * GIB}
DEADLINE_MS = 100.0
#: A ratio of latencies within this of 1 is no difference: two loads of one file differ by as much.
SAME_SPEED = 0.03


@dataclass(frozen=True, slots=True)
class Limits:
    """The gates with every default filled in. Milliseconds, points, bytes."""

    latency_ms: float
    loss_points: float
    cosine: float
    size: int
    memory: int

    @classmethod
    def of(cls, asked: Constraints, device_class: DeviceClass, deadline_ms: float) -> "Limits":
        return cls(
            latency_ms=asked.max_latency_ms or deadline_ms,
            loss_points=asked.max_loss_points,
            cosine=asked.min_cosine,
            size=asked.max_bytes,
            memory=asked.max_memory_bytes or CLASS_MEMORY[device_class],
        )


def slower(mine: Figures) -> bool:
    """Slower than the original beyond noise: its whole interval is, and by more than two loads of one file differ."""
    return mine.ratio_low > 1 and mine.ratio_p50 > 1 + SAME_SPEED


def less_faithful(mine: Figures) -> bool:
    """It does its job less often than the original; without episodes, its outputs differ by more than rounding."""
    if mine.loss_points is not None:
        return mine.loss_points > 0
    return mine.max_error > mine.tolerance


def refusal(mine: Figures, limits: Limits, *, original: bool = False) -> str:
    """Why it must not be released, with the figure that decides; empty when it may."""
    if not mine.finite:
        return "It answered with NaN or infinity on the evaluation set."
    if mine.p95_ms > limits.latency_ms:
        return f"A decision takes {mine.p95_ms:.1f} ms (95th percentile); {limits.latency_ms:g} ms are allowed."
    if mine.memory_bytes > limits.memory:
        return f"It needs {_mib(mine.memory_bytes)} of memory; {_mib(limits.memory)} are allowed."
    if limits.size and mine.bytes > limits.size:
        return f"It has {mine.bytes:,} bytes; {limits.size:,} are allowed."
    if original:
        return ""
    if mine.cosine < limits.cosine:
        return f"Its outputs have a mean cosine similarity of {mine.cosine:.4f}; at least {limits.cosine:g} is needed."
    if mine.loss_points is not None and mine.loss_points > limits.loss_points:
        return f"It lost {loss_words(mine)}; {limits.loss_points:g} points are allowed."
    if slower(mine) and less_faithful(mine):
        return (
            f"It is both slower than the original ({mine.ratio_p50:.2f} times its latency, interleaved) and less "
            f"faithful ({_fidelity(mine)}); such a variant is never released."
        )
    return ""


def score(mine: Figures, original: Figures, limits: Limits) -> float:
    """The objective, with the original's bytes as the limit of size."""
    return objective(
        latency_ms=mine.p50_ms,
        latency_limit_ms=limits.latency_ms,
        size=mine.bytes,
        size_limit=original.bytes,
        memory=mine.memory_bytes,
        memory_limit=limits.memory,
    )


def why_won(name: str, scores: Mapping[str, float], mine: Figures, original: Figures) -> str:
    """The winner's sentence."""
    if name == "original":
        return "Nothing that was tried is better than the original, so the original is the variant."
    return (
        f"The least objective, {scores[name]:.3f}, of {len(scores)} that passed: "
        f"{original.bytes / mine.bytes:.2f} times smaller than the original, {mine.ratio_p50:.2f} times its latency, "
        f"{_fidelity(mine)}."
    )


def why_passed(name: str, winner: str, scores: Mapping[str, float], mine: Figures, original: Figures) -> str:
    """The sentence of one that may be released and did not win."""
    lesser = f"It passed, but {winner} has the lesser objective ({scores[winner]:.3f} against {scores[name]:.3f})"
    if name == "original":
        return f"{lesser}."
    return (
        f"{lesser}: "
        f"this one is {original.bytes / mine.bytes:.2f} times smaller than the original, "
        f"{mine.ratio_p50:.2f} times its latency, {_fidelity(mine)}."
    )


def _fidelity(mine: Figures) -> str:
    if mine.loss_points is not None:
        return f"success {100 * (mine.success or 0):.1f} %, loss of {loss_words(mine)}"
    return f"cosine {mine.cosine:.5f}, largest error {mine.max_error:.2g}"


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
