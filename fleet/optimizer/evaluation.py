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
    max_error and mean_error are absolute, against the original; tolerance is what a device may differ by.
    """

    bytes: int
    compressed_bytes: int = 0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
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
    """Fill in finite, cosine, cosine_min, max_error and mean_error: sample by sample, over all floating outputs.

    Cosine similarity is taken per sample over its outputs together. Raises PassError when an output is missing.
    """
    cosines, worst, total, count = [], 0.0, 0.0, 0
    for mine, theirs in zip(found, expected, strict=True):
        if set(mine) != set(theirs):
            raise PassError(f"the outputs are {sorted(mine)}, the original's are {sorted(theirs)}")
        a, b = _flat(mine), _flat(theirs)
        if a.shape != b.shape:
            raise PassError("an output has another shape than the original's")
        if not np.isfinite(a).all():
            figures.finite = False
            figures.cosine = figures.cosine_min = 0.0
            return
        difference = np.abs(a - b)
        worst, total, count = (
            max(worst, float(difference.max(initial=0))),
            total + float(difference.sum()),
            count + a.size,
        )
        norm = float(np.linalg.norm(a) * np.linalg.norm(b))
        cosines.append(float(a @ b) / norm if norm else float(not difference.any()))
    figures.cosine, figures.cosine_min = float(np.mean(cosines)), float(np.min(cosines))
    figures.max_error, figures.mean_error = worst, total / max(1, count)


def _flat(outputs: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    return np.concatenate([outputs[name].astype(np.float64).ravel() for name in sorted(outputs)])


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
    interval = f"95 % interval {figures.loss_low:.1f} to {figures.loss_high:.1f}"
    return f"{figures.loss_points:.1f} points of success ({interval}, {figures.episodes} paired episodes)"


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
