"""How good a variant is: its outputs beside the original's, and whether it still does its job."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.inference.policy_card import Card, Codec
from fleet.optimizer.errors import PassError
from fleet.optimizer.inputs import Feeds
from fleet.optimizer.statistics import paired_loss, wilson

Bools = NDArray[np.bool_]
Outputs = list[dict[str, NDArray[Any]]]
Run = Callable[[Feeds], NDArray[Any]]


class Figures(msgspec.Struct, kw_only=True):
    """What was measured of one variant. Bytes, milliseconds, shares 0 … 1; loss in percentage points.

    ratio_p50 is its latency as a multiple of the original's, measured interleaved in one process, with its 95 %
    interval. peak_bytes is the whole process, memory_bytes what the model adds to one that has only loaded the runtime.
    max_error and mean_error are absolute, against the original; tolerance is what a device may differ by. outputs has
    the same for each output, and `agreement` where it is a class score: how often the largest one is the original's.
    p50_all_ms and p95_all_ms are with all `threads`, the others with one.
    right is how often it is the right answer's, where the evaluation set has them. jerk is the mean third difference of
    an action chunk, out_of_range the share of actions beyond the card's limits (they are cut off there).
    joules are of one decision, from the processor's own counter; None where it has none that can be read.
    """

    bytes: int
    compressed_bytes: int = 0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    threads: int = 1
    p50_all_ms: float = 0.0
    p95_all_ms: float = 0.0
    joules: float | None = None
    load_ms: float = 0.0
    ratio_p50: float = 1.0
    ratio_low: float = 1.0
    ratio_high: float = 1.0
    peak_bytes: int = 0
    memory_bytes: int = 0
    finite: bool = True
    cosine: float = 1.0
    cosine_min: float = 1.0
    max_error: float = 0.0
    mean_error: float = 0.0
    outputs: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)
    right: float | None = None
    jerk: float | None = None
    jerk_ratio: float | None = None
    out_of_range: float | None = None
    tolerance: float = 1e-3
    success: float | None = None
    success_low: float | None = None
    success_high: float | None = None
    episodes: int = 0
    loss_points: float | None = None
    loss_low: float | None = None
    loss_high: float | None = None
    seconds: float = 0.0


class Evaluate(Protocol):
    """An evaluator: whether each of `episodes` episodes from `seed` on succeeded; the same seed is the same episode."""

    def __call__(self, run: Run, codec: Codec, episodes: int, seed: int) -> Bools: ...


def evaluator(name: str) -> Evaluate:
    """The installed evaluator `module:function`. Raises PassError when there is none."""
    return cast(Evaluate, _installed(name))


def generator(name: str | None) -> Callable[[Card, int, int], Iterator[Feeds]] | None:
    """The function `batches(card, size, seed)` of the evaluator's module: endless training inputs. None without one."""
    if name is None:
        return None
    module = name.partition(":")[0]
    try:
        return cast(Callable[[Card, int, int], Iterator[Feeds]], _installed(f"{module}:batches"))
    except PassError:
        return None


def _installed(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as problem:
        raise PassError(f"the evaluator {name!r} is not installed: {problem}") from problem


def compare(found: Outputs, expected: Outputs, figures: Figures) -> None:
    """Fill in how far the outputs are from the original's, each by itself, and of all together the worst.

    Cosine similarity is taken per sample; of an output of one number, over all samples. Raises PassError when an
    output is missing or has another shape.
    """
    for mine, theirs in zip(found, expected, strict=True):
        if set(mine) != set(theirs):
            raise PassError(f"the outputs are {sorted(mine)}, the original's are {sorted(theirs)}")
        for name in mine:
            if mine[name].shape != theirs[name].shape:
                raise PassError(f"the output {name} has the shape {mine[name].shape}, not {theirs[name].shape}")
    figures.finite = finite(found)
    if not figures.finite:
        figures.cosine = figures.cosine_min = 0.0
        return
    names = sorted(found[0])
    for name in names:
        figures.outputs[name] = _compared([each[name] for each in found], [each[name] for each in expected])
        figures.cosine_min = min(figures.cosine_min, figures.outputs[name].pop("cosine_min"))
    # A model is as faithful as the least faithful of its outputs.
    figures.cosine = min(each["cosine"] for each in figures.outputs.values())
    figures.max_error = max(each["max_error"] for each in figures.outputs.values())
    sizes = {name: max(1, sum(each[name].size for each in found)) for name in names}
    figures.mean_error = sum(figures.outputs[n]["mean_error"] * sizes[n] for n in names) / sum(sizes.values())


def finite(outputs: Outputs) -> bool:
    return all(np.isfinite(value).all() for each in outputs for value in each.values())


def _compared(mine: Sequence[NDArray[Any]], theirs: Sequence[NDArray[Any]]) -> dict[str, float]:
    gaps = [np.abs(a.astype(np.float64) - b.astype(np.float64)) for a, b in zip(mine, theirs, strict=True)]
    if theirs[0].size > 1:
        cosines = [cosine(_flat([a]), _flat([b])) for a, b in zip(mine, theirs, strict=True)]
    else:  # one number has no direction; all samples' together have
        cosines = [cosine(_flat(mine), _flat(theirs))]
    told = {
        "cosine": float(np.mean(cosines)),
        "cosine_min": min(cosines),
        "max_error": max(float(gap.max(initial=0.0)) for gap in gaps),
        "mean_error": sum(float(gap.sum()) for gap in gaps) / max(1, sum(gap.size for gap in gaps)),
    }
    if _scores(theirs[0]):
        told["agreement"] = float(np.mean([_chosen(a) == _chosen(b) for a, b in zip(mine, theirs, strict=True)]))
    return told


def _flat(arrays: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    return np.concatenate([array.astype(np.float64).ravel() for array in arrays])


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else float(not np.abs(a - b).any())


def _scores(output: NDArray[Any]) -> bool:
    """Whether it looks like one score for each class: [1, classes] or [classes], in floating point."""
    single = output.ndim == 1 or (output.ndim == 2 and output.shape[0] == 1)
    return single and output.size > 1 and bool(np.issubdtype(output.dtype, np.floating))


def _chosen(scores: NDArray[Any]) -> int:
    return int(scores.argmax())


def rightness(outputs: Outputs, expected: Outputs) -> Bools | None:
    """Whether each sample got its right class: bool [samples]; None when the right answers are of no class.

    A right answer is the class's number, or the shares of all classes (none below 0, together 1). Raises PassError for
    a class that the model does not have.
    """
    name = next((n for n in expected[0] if n in outputs[0] and _scores(outputs[0][n])), None)
    if name is None:
        return None
    labels = [_label(each[name], outputs[0][name].size, name) for each in expected]
    if None in labels:
        return None
    return np.array([_chosen(each[name]) == label for each, label in zip(outputs, labels, strict=True)])


def _label(answer: NDArray[Any], classes: int, name: str) -> int | None:
    """The class that an answer means; None when its numbers are of something else."""
    values = np.asarray(answer).ravel()
    if not (np.issubdtype(values.dtype, np.number) or values.dtype == bool) or not np.isfinite(values).all():
        raise PassError(f"the right answers for {name} hold {values.dtype} that is no number: give each class's number")
    if values.size == 1 and float(values[0]).is_integer():
        if not 0 <= values[0] < classes:
            raise PassError(f"a right answer for {name} is class {int(values[0])}; the model has 0 to {classes - 1}")
        return int(values[0])
    if values.size != classes:
        raise PassError(f"a right answer for {name} has {values.size} numbers; the model has {classes} classes")
    shares = bool((values >= 0).all()) and abs(float(values.sum()) - 1) < 1e-3
    return int(values.argmax()) if shares else None


def smoothness(figures: Figures, outputs: Outputs, card: Card) -> None:
    """Fill in jerk and out_of_range of a policy's raw actions."""
    chunks = np.stack([np.asarray(each[card.actions.output], np.float64)[0] for each in outputs])
    low, high = np.asarray(card.actions.low), np.asarray(card.actions.high)
    figures.out_of_range = float(((chunks < low) | (chunks > high)).mean())
    if card.actions.chunk > 3:
        figures.jerk = float(np.abs(np.diff(chunks, n=3, axis=1)).mean())


def succeed(figures: Figures, mine: Bools, original: Bools | None) -> None:
    """Fill in success with its interval and, beside the original's same episodes, the loss with its interval."""
    n = mine.size
    figures.episodes, figures.success = n, float(mine.mean())
    figures.success_low, figures.success_high = wilson(int(mine.sum()), n)
    if original is not None:
        loss, low, high = paired_loss(original[:n], mine)
        figures.loss_points, figures.loss_low, figures.loss_high = 100 * loss, 100 * low, 100 * high


def loss_words(figures: Figures) -> str:
    """A measured loss with its interval, for a sentence; a gain reads as a negative loss."""
    loss, low, high = (
        round(value or 0.0, 1) + 0.0  # no minus before a nought
        for value in (figures.loss_points, figures.loss_low, figures.loss_high)
    )
    interval = f"95 % interval {low:.1f} to {high:.1f}"
    return f"{loss:.1f} points of success ({interval}, {figures.episodes} paired episodes)"


def episodes(
    evaluate: Evaluate, run: Run, codec: Codec, wanted: Sequence[int], go_on: Callable[[Bools], bool]
) -> Bools:
    """Run the evaluator up to each of the counts `wanted` in turn, as long as `go_on(so far)`: bool [episodes run]."""
    done: Bools = np.zeros(0, bool)
    for count in wanted:
        more = np.asarray(evaluate(run, codec, count - done.size, done.size), bool)
        done = np.concatenate([done, more])
        if not go_on(done):
            break
    return done
