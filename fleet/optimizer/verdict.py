"""Who may be released, who wins, and why: pure functions of what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.wire.hardware import GIB, DeviceClass
from fleet.optimizer.contract import Constraints, Trial
from fleet.optimizer.evaluation import Figures, loss_words
from fleet.optimizer.objective import DEFAULT, Weights, objective
from fleet.optimizer.recipe import Goal, Recipe

#: Memory of the devices that a class is for; a model may take half of it, the rest is the device's own.
CLASS_MEMORY = {DeviceClass.EMBEDDED: 4 * GIB, DeviceClass.MOBILE: 8 * GIB, DeviceClass.EDGE_SERVER: 16 * GIB}
MODEL_SHARE = 0.5
#: Points that a thorough search has to prove a variant not to lose: an edge server has no need to give anything up.
CLASS_LOSS_HIGH = {DeviceClass.EMBEDDED: 2.0, DeviceClass.MOBILE: 2.0, DeviceClass.EDGE_SERVER: 0.5}
DEADLINE_MS = 100.0
#: Characters of a reason that is put together from others.
MAX_REASON = 1000
#: Two sessions of one and the same file, timed in turn, differed by up to this much (−2 to 0 % on a quiet machine,
#: −2 to 3 % on a busy one): less is no difference.
SAME_SPEED = 0.03
#: Share of actions by which more may lie beyond the card's limits than of the original's.
RANGE = 0.02
#: Least mean cosine similarity. Alone it must say enough; beside episodes it only turns away the hopeless, because it
#: does not tell what a policy can still do (0.993 lost 37 points once, and nothing another time).
MIN_COSINE, MIN_COSINE_BESIDE_EPISODES = 0.99, 0.9
WEIGHTS: dict[Goal, Weights] = {
    "balanced": DEFAULT,
    "realtime": Weights(latency=4.0, size=0.5),
    "accuracy": Weights(latency=0.5, size=0.5),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The gates with every default filled in. Milliseconds, points, bytes; a size of 0 is no gate, a goal never."""

    latency_ms: float
    loss_points: float
    cosine: float
    size: int
    memory: int
    jerk_ratio: float = 2.0
    #: Share of actions that may lie beyond the card's limits, where they are cut off.
    out_of_range: float = 1.0
    #: Of the loss's interval, the upper end; None where there are too few episodes to hold to it.
    loss_high: float | None = None
    goal_size: int = 0
    weights: Weights = DEFAULT

    @classmethod
    def of(
        cls,
        asked: Constraints,
        device_class: DeviceClass,
        recipe: Recipe,
        *,
        deadline_ms: float,
        episodes: bool,
        original_bytes: int,
        out_of_range: float | None = None,
        weights: Weights | None = None,
        thorough: bool = False,
    ) -> "Limits":
        return cls(
            latency_ms=asked.max_latency_ms or deadline_ms,
            loss_points=asked.max_loss_points,
            cosine=least_cosine(asked, episodes=episodes),
            size=asked.max_bytes,
            memory=asked.max_memory_bytes or round(MODEL_SHARE * CLASS_MEMORY[device_class]),
            jerk_ratio=asked.max_jerk_ratio,
            out_of_range=1.0 if out_of_range is None else out_of_range + RANGE,
            loss_high=min(CLASS_LOSS_HIGH[device_class], asked.max_loss_points) if thorough else None,
            goal_size=round((1 - recipe.compression) * original_bytes),
            weights=weights or WEIGHTS[recipe.goal],
        )


def least_cosine(asked: Constraints, *, episodes: bool) -> float:
    return asked.min_cosine or (MIN_COSINE_BESIDE_EPISODES if episodes else MIN_COSINE)


def slower(mine: Figures) -> bool:
    """Slower beyond noise: its whole interval is, and by more than two sessions of the original differ."""
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
    if not original and mine.cosine < limits.cosine:
        return f"Its outputs have a mean cosine similarity of {mine.cosine:.4f}; at least {limits.cosine:g} is needed."
    if not original and mine.loss_points is not None and mine.loss_points > limits.loss_points:
        return f"It lost {loss_words(mine)}; {limits.loss_points:g} points are allowed."
    if (
        not original
        and limits.loss_high is not None
        and mine.loss_high is not None
        and mine.loss_high > limits.loss_high
    ):
        return f"It lost {loss_words(mine)}; that it loses no more than {limits.loss_high:g} is not proven by that."
    if not original and mine.jerk_ratio is not None and mine.jerk_ratio > limits.jerk_ratio:
        return (
            f"Its actions are {mine.jerk_ratio:.2f} times as jerky as the original's; "
            f"{limits.jerk_ratio:g} times are allowed."
        )
    if not original and mine.out_of_range is not None and mine.out_of_range > limits.out_of_range:
        return (
            f"{100 * mine.out_of_range:.1f} % of its actions lie beyond the card's limits; "
            f"{100 * limits.out_of_range:.1f} % are allowed."
        )
    if not original and slower(mine) and less_faithful(mine):
        return (
            f"It is both slower than the original ({mine.ratio_p50:.2f} times its latency, 95 % interval "
            f"{mine.ratio_low:.2f} to {mine.ratio_high:.2f}) and less faithful ({_fidelity(mine)}); "
            "such a variant is never released."
        )
    if mine.p95_ms > limits.latency_ms:
        return f"A decision takes {mine.p95_ms:.1f} ms (95th percentile); {limits.latency_ms:g} ms are allowed."
    if mine.memory_bytes > limits.memory:
        return f"It needs {_mib(mine.memory_bytes)} of memory; {_mib(limits.memory)} are allowed."
    if limits.size and mine.bytes > limits.size:
        return f"It has {mine.bytes:,} bytes; {limits.size:,} are allowed."
    return ""


def score(mine: Figures, original: Figures, limits: Limits) -> float:
    """The objective, with the original's bytes as the scale of size.

    The latency is the original's times the ratio: both were timed in turn, while milliseconds of two trials are of two
    moments of a busy machine.
    """
    return objective(
        latency_ms=original.p50_ms * mine.ratio_p50,
        latency_limit_ms=limits.latency_ms,
        size=mine.bytes,
        size_limit=limits.size or original.bytes,
        memory=mine.memory_bytes,
        memory_limit=limits.memory,
        weights=limits.weights,
    )


def best(scores: Sequence[float | None]) -> int | None:
    """The place of the least score; of two that are equal the earlier, which changed less."""
    passed = [(value, place) for place, value in enumerate(scores) if value is not None]
    return min(passed)[1] if passed else None


def judge(trials: Sequence[Trial], figures: Sequence[Figures | None], limits: Limits) -> Trial | None:
    """Fill in each trial's verdict, score and reason; returns the winner, None when not even the original passes.

    The first of both is the original. A trial without figures has failed or lost before, and keeps its reason.
    """
    original = figures[0]
    if original is None:
        return None
    for trial, measured in zip(trials, figures, strict=True):
        if measured is None:
            continue
        trial.reason = refusal(measured, limits, original=measured is original)
        trial.verdict = "lost" if trial.reason else "passed"
        trial.score = None if trial.reason else score(measured, original, limits)
        if trial.reason:
            trial.artifact = None
    place = best([None if "sparsify" in trial.recipe else trial.score for trial in trials])
    winner = None if place is None else trials[place]
    if winner is None or winner.score is None:
        return None
    passed = sum(trial.score is not None for trial in trials)
    for trial, measured in zip(trials, figures, strict=True):
        if measured is None or trial.score is None:
            continue
        if "sparsify" in trial.recipe:
            trial.reason = why_only_sent(measured, original, limits)
        elif trial is not winner:
            trial.reason = why_passed(measured, original, limits, trial.score, winner.name, winner.score)
        elif measured is original:
            others = " ".join(f"{each.name}: {each.reason}" for each in trials[1:])
            trial.reason = f"Nothing that was tried is better than the original, so it stays. {others}"[:MAX_REASON]
        else:
            trial.reason = why_won(measured, original, limits, trial.score, passed)
    winner.verdict = "won"
    return winner


def why_won(mine: Figures, original: Figures, limits: Limits, score: float, passed: int) -> str:
    """The sentence of a winner that is not the original."""
    return f"The least objective, {score:.3f}, of {passed} that passed: {_beside(mine, original, limits)}"


def why_passed(mine: Figures, original: Figures, limits: Limits, score: float, winner: str, least: float) -> str:
    """The sentence of one that may be released and did not win."""
    lesser = f"It passed, but {winner} has the lesser objective ({least:.3f} against {score:.3f})"
    return f"{lesser}." if mine is original else f"{lesser}: {_beside(mine, original, limits)}"


def why_only_sent(mine: Figures, original: Figures, limits: Limits) -> str:
    """The sentence of one with zeros in its weights, which never wins by itself."""
    return (
        f"It passed, and is smaller to send only: compressed it has {mine.compressed_bytes:,} bytes of "
        f"{mine.bytes:,}, and zeros save neither storage nor memory nor time. Release it by hand where sending is "
        f"dear: {_beside(mine, original, limits)}"
    )


def _beside(mine: Figures, original: Figures, limits: Limits) -> str:
    words = (
        f"{original.bytes / mine.bytes:.2f} times smaller than the original, {mine.ratio_p50:.2f} times its latency, "
        f"{_fidelity(mine)}."
    )
    if mine.bytes > limits.goal_size:
        words += f" The recipe's goal of {limits.goal_size:,} bytes was not reached."
    if mine.loss_high is not None and mine.loss_high > limits.loss_points:
        words += (
            f" Within the noise of {mine.episodes} episodes it could lose more than the {limits.loss_points:g} allowed."
        )
    return words


def _fidelity(mine: Figures) -> str:
    if mine.loss_points is not None:
        return f"success {100 * (mine.success or 0):.1f} %, loss of {loss_words(mine)}"
    return f"cosine {mine.cosine:.5f}, largest error {mine.max_error:.2g}"


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
