"""The child that measures one variant: stores its weights narrower or quantizes it, compares, evaluates, times it.

    python -m fleet.optimizer.measure REQUEST.json

Needs no torch: it starts in half a second, and loads files that `fleet.optimizer.make` wrote.
"""

import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.inference import policy_card, runtimes
from agent.inference.policy_card import Codec
from fleet.optimizer import benchmark, evaluation, onnx_file, report
from fleet.optimizer.cache import machine
from fleet.optimizer.contract import Budget
from fleet.optimizer.errors import PassError
from fleet.optimizer.evaluation import Bools, Figures, Outputs
from fleet.optimizer.inputs import EXPECTED, Feeds, rows
from fleet.optimizer.passes.factor import Factor, factor
from fleet.optimizer.passes.quantize import Quantize, quantize
from fleet.optimizer.passes.sparsify import Sparsify, sparsify
from fleet.optimizer.passes.static import StaticQuantize, static_quantize
from fleet.optimizer.passes.store import Store, store
from fleet.optimizer.recipe import FilePass

if TYPE_CHECKING:
    from onnx import ModelProto

#: A technique's config, and the function that makes another model of one: (config, model, scratch folder, samples).
FILE_TECHNIQUES: dict[type[msgspec.Struct], Callable[..., tuple["ModelProto", list[str]]]] = {
    Factor: factor,
    Quantize: quantize,
    Sparsify: sparsify,
    StaticQuantize: static_quantize,
    Store: store,
}
#: Golden observations that a device proves itself on.
GOLDEN = 16
#: What a device may differ by, at least; and how many times what two ways of computing on this machine differ by.
LEAST_TOLERANCE, TOLERANCE_TIMES = 1e-3, 8.0
#: Relative size of the disturbance that stands for another processor's rounding, and how often it is tried.
DISTURBANCE, DISTURBED = 1e-6, 2


class MeasureRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Paths. `base` is the model.onnx to start from, `original` the folder of the original's own measurement (None when
    this is it), `out` where the artifact goes. The thresholds end hopeless candidates early."""

    base: str
    samples: str
    out: str
    passes: tuple[FilePass, ...] = ()
    original: str | None = None
    card: str | None = None
    evaluator: str | None = None
    budget: Budget = Budget()
    min_cosine: float = 0.0
    max_loss_points: float = 100.0


class MeasureResult(msgspec.Struct, kw_only=True):
    """hopeless: why it was not measured to the end; empty otherwise. at: when it was measured, UTC, ISO 8601."""

    figures: Figures
    notes: list[str]
    hopeless: str = ""
    at: str = ""
    machine: str = ""


def measure(request: MeasureRequest) -> MeasureResult:
    start = time.monotonic()
    out = Path(request.out)
    out.mkdir(parents=True, exist_ok=True)
    samples, expected = _samples(Path(request.samples))
    report.progress(0.05, "making")
    notes = _make(request, out, samples)
    result = MeasureResult(
        figures=Figures(bytes=(out / "model.onnx").stat().st_size),
        notes=notes,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=machine(),
    )
    _Measurement(request, out, samples, expected, result).run()
    result.figures.seconds = time.monotonic() - start
    (out / "facts.json").write_bytes(msgspec.json.encode(result.figures))
    return result


def _samples(path: Path) -> tuple[list[Feeds], list[Feeds] | None]:
    """The requests, and the right answers where they are known."""
    with np.load(path, allow_pickle=False) as file:
        found: dict[str, list[Feeds]] = {}
        for prefix in ("input/", EXPECTED):
            columns = {name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)}
            count = len(columns[next(iter(columns))]) if columns else 0
            found[prefix] = rows(columns, count)
    return found["input/"], found[EXPECTED] or None


def _make(request: MeasureRequest, out: Path, samples: Sequence[Feeds]) -> list[str]:
    """Write the variant's model.onnx and card.json; returns notes."""
    import onnx

    notes: list[str] = []
    if request.card:
        shutil.copyfile(request.card, out / "card.json")
    if not request.passes:
        shutil.copyfile(request.base, out / "model.onnx")
        return notes
    base: ModelProto = onnx.load(request.base)
    model = base
    for config in request.passes:
        model, more = FILE_TECHNIQUES[type(config)](config, model, Path.cwd(), samples)
        notes += more
    onnx_file.tidy(model)
    onnx_file.keep_ends(model, base)
    onnx.checker.check_model(model)
    data = model.SerializeToString(deterministic=True)
    if data == Path(request.base).read_bytes():
        raise PassError("the model has no weights that this could change")
    (out / "model.onnx").write_bytes(data)
    return notes


class _Measurement:
    """Cheap figures first: whoever fails them is spared the dear ones."""

    def __init__(
        self,
        request: MeasureRequest,
        out: Path,
        samples: list[Feeds],
        expected: list[Feeds] | None,
        result: MeasureResult,
    ) -> None:
        self._request, self._out, self._samples, self._result = request, out, samples, result
        self._expected = expected
        self._figures = result.figures
        self._model = runtimes.load(out / "model.onnx")
        self._before = Path(request.original) if request.original else None
        self._facts: Figures | None = None
        if self._before:
            self._facts = msgspec.json.decode((self._before / "facts.json").read_bytes(), type=Figures)
        self._card = policy_card.read(Path(request.card).read_bytes()) if request.card else None

    def run(self) -> None:
        benchmark.size(self._figures, self._out / "model.onnx")
        report.progress(0.15, "comparing outputs")
        outputs = self._compare()
        if self._result.hopeless:
            return
        self._golden(outputs)
        if self._request.evaluator and self._request.card:
            report.progress(0.25, "running episodes")
            self._evaluate(self._request.evaluator)
            if self._result.hopeless:
                return
        report.progress(0.8, "timing")
        mine, theirs = self._out / "model.onnx", (self._before or self._out) / "model.onnx"
        benchmark.latency(self._figures, mine, theirs, self._samples, self._request.budget.rounds)
        if self._before is None:
            self._figures.ratio_p50 = self._figures.ratio_low = self._figures.ratio_high = 1.0
        report.progress(0.95, "weighing")
        benchmark.memory(self._figures, self._out / "model.onnx", self._out / "golden.npz")

    def _compare(self) -> Outputs:
        outputs = [self._model.run(feeds) for feeds in self._samples]
        np.savez(self._out / "outputs.npz", allow_pickle=False, **_columns("", outputs))
        if self._before is None:
            evaluation.compare(outputs, outputs, self._figures)
        else:
            with np.load(self._before / "outputs.npz", allow_pickle=False) as file:
                columns = {name: file[name] for name in file.files}
            expected = rows(columns, len(outputs))
            evaluation.compare(outputs, expected, self._figures)
        if self._figures.finite:
            self._judge(outputs)
        if not self._figures.finite:
            self._result.hopeless = "It answered with NaN or infinity on the evaluation set."
        elif self._figures.cosine < self._request.min_cosine:
            self._result.hopeless = (
                f"Its outputs have a mean cosine similarity of {self._figures.cosine:.4f} to the original's; "
                f"at least {self._request.min_cosine:g} is needed."
            )
        return outputs

    def _judge(self, outputs: Outputs) -> None:
        """What the outputs say by themselves: of a policy how smooth they are, of a classifier how often right."""
        if self._card is not None:
            evaluation.smoothness(self._figures, outputs, self._card)
            before = self._facts.jerk if self._facts else self._figures.jerk
            if before and self._figures.jerk is not None:
                self._figures.jerk_ratio = self._figures.jerk / before
        right = evaluation.rightness(outputs, self._expected) if self._expected else None
        if right is None:
            if self._expected:
                self._result.notes.append(
                    "the right answers are no classes: variants are compared with the original's outputs only"
                )
            return
        if self._before is None and not right.any():
            raise PassError("the original gets none of the right answers right: they belong to another model")
        self._figures.right = float(right.mean())
        original = np.load(self._before / "right.npy", allow_pickle=False) if self._before else None
        np.save(self._out / "right.npy", right, allow_pickle=False)
        if not (self._request.evaluator and self._card):
            # Each sample is an episode: it was answered rightly, or not.
            evaluation.succeed(self._figures, right, original)

    def _golden(self, outputs: Outputs) -> None:
        """What a device proves itself on, and what it may differ by.

        Another processor rounds differently. A policy can be torn between two answers, where the least rounding tips
        it over; what it is sure of tells a broken kernel from a rounding one. So the samples that a tiny disturbance
        moves least are the golden ones, and the tolerance is a multiple of what moved them.
        """
        random = np.random.default_rng(0)
        moved = []
        for feeds, expected in zip(self._samples, outputs, strict=True):
            answers = [self._model.run(_disturbed(feeds, random)) for _ in range(DISTURBED)]
            moved.append(max(_gap(answer, expected) for answer in answers))
        chosen = sorted(np.argsort(moved, kind="stable")[:GOLDEN].tolist())
        arrays = _columns("input/", [self._samples[i] for i in chosen])
        arrays |= _columns("output/", [outputs[i] for i in chosen])
        np.savez_compressed(self._out / "golden.npz", allow_pickle=False, **arrays)
        self._figures.tolerance = max(LEAST_TOLERANCE, TOLERANCE_TIMES * max(moved[i] for i in chosen))

    def _evaluate(self, name: str) -> None:
        """Paired episodes: a few first, and all of them only for who may still pass."""
        codec = Codec(policy_card.read((self._out / "card.json").read_bytes()))
        action, budget = codec.card.actions.output, self._request.budget
        original: Bools | None = None
        if self._before is not None:
            original = np.load(self._before / "successes.npy", allow_pickle=False)

        def run(feeds: Feeds) -> NDArray[Any]:
            outputs = self._model.run(feeds)
            if action not in outputs:
                raise PassError(f"the policy card names the output {action!r}, the model has {sorted(outputs)}")
            return np.asarray(outputs[action])

        def go_on(done: Bools) -> bool:
            report.progress(0.25 + 0.55 * done.size / budget.episodes, f"{done.size} episodes")
            evaluation.succeed(self._figures, done, original)
            low = self._figures.loss_low
            # Hopeless: even the friendly end of the interval is beyond what may be lost.
            return original is None or low is None or low <= self._request.max_loss_points

        wanted = sorted({min(budget.screen_episodes, budget.episodes), budget.episodes})
        done = evaluation.episodes(evaluation.evaluator(name), run, codec, wanted, go_on)
        np.save(self._out / "successes.npy", done, allow_pickle=False)
        if not go_on(done):
            self._result.hopeless = (
                f"It lost {evaluation.loss_words(self._figures)}; {self._request.max_loss_points:g} points are allowed."
            )


def _columns(prefix: str, rows: Sequence[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {f"{prefix}{name}": np.stack([row[name] for row in rows]) for name in rows[0]}


def _gap(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> float:
    return max(
        float(np.abs(np.asarray(value, np.float64) - np.asarray(other[name], np.float64)).max(initial=0.0))
        for name, value in one.items()
    )


def _disturbed(feeds: Feeds, random: np.random.Generator) -> Feeds:
    return {
        name: array * (1 + DISTURBANCE * random.standard_normal(array.shape)).astype(array.dtype)
        if np.issubdtype(array.dtype, np.floating)
        else array
        for name, array in feeds.items()
    }


if __name__ == "__main__":
    # Deprecations within onnxruntime's quantizer.
    warnings.simplefilter("ignore")
    report.serve(MeasureRequest, measure)
