"""The child that reads an upload: cleans it, changes its program, and writes each variation as one tidy ONNX file.

    python -m fleet.optimizer.make REQUEST.json

The only place that loads what somebody uploaded into torch, and always confined (`fleet.optimizer.sandbox`).
"""

import functools
import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from agent.inference import policy_card
from agent.inference.policy_card import Card
from fleet.optimizer import intake, onnx_file, report
from fleet.optimizer.errors import IntakeError, OptimizerError, PassError
from fleet.optimizer.evaluation import generator
from fleet.optimizer.inputs import EXPECTED, Feeds, InputSpec, Samples, endless, join, named, read, split, synthetic
from fleet.optimizer.intake import Format
from fleet.optimizer.passes.distil import Distil, distil
from fleet.optimizer.passes.heads import PruneHeads, prune_heads
from fleet.optimizer.passes.prune import Prune, prune
from fleet.optimizer.passes.sensitivity import HOLD
from fleet.optimizer.recipe import ProgramPass
from fleet.optimizer.workbench import BATCH, ModelFacts, Workbench

if TYPE_CHECKING:
    from onnx import ModelProto

    from fleet.optimizer.graph import Program

#: A technique's config and the function that carries it out on a workbench.
TECHNIQUES: dict[type[msgspec.Struct], Callable[..., None]] = {
    Prune: prune,
    PruneHeads: prune_heads,
    Distil: distil,
}

#: Samples that trials compare on, when the upload has no evaluation set of its own.
SAMPLES = 64
#: For inputs that are drawn from a generator: not those that techniques learn from.
SAMPLE_SEED, LEARNING_SEED = 1, 2


class Variation(msgspec.Struct, frozen=True, kw_only=True):
    """One model to make: what is done to the program (nothing: the original), and the folder for its model.onnx."""

    out: str
    passes: tuple[ProgramPass, ...] = ()


class MakeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Paths. `samples` is where samples.npz goes: arrays `input/<name>` [n, exact shape] that all are compared on."""

    source: str
    format: Format
    samples: str
    variations: tuple[Variation, ...]
    card: str | None = None
    evaluation: str | None = None
    evaluator: str | None = None
    seed: int = 0


class Made(msgspec.Struct, kw_only=True):
    """One variation's facts, or why it could not be made."""

    facts: ModelFacts
    error: str = ""


class MakeResult(msgspec.Struct, kw_only=True):
    """As many as there were variations, in their order; and what cleaning the upload left out."""

    made: list[Made]
    notes: list[str]


def make(request: MakeRequest) -> MakeResult:
    card = policy_card.read(Path(request.card).read_bytes()) if request.card else None
    clean = Path(f"clean.{request.format}").resolve()
    report.progress(0.02, "reading the upload")
    notes = intake.prepare(Path(request.source), request.format, clean)
    made = (_from_program if request.format == "pt2" else _from_onnx)(request, clean, card)
    clean.unlink()
    return MakeResult(made=made, notes=notes)


def _from_program(request: MakeRequest, clean: Path, card: Card | None) -> list[Made]:
    import torch

    from fleet.optimizer import graph

    report.progress(0.05, "loading the program")
    teacher = graph.load(clean)
    graph.check_finite(teacher.module)
    samples = _samples(request, teacher.inputs, _outputs(teacher, card), card).feeds
    shared: dict[object, object] = {}
    made = []
    for number, variation in enumerate(request.variations):
        torch.manual_seed(request.seed)
        begin, end = (0.1 + 0.9 * at / len(request.variations) for at in (number, number + 1))
        bench = Workbench(
            program=teacher.copy() if variation.passes else teacher,
            teacher=teacher,
            batches=lambda: _batches(request, teacher, samples, card),
            report=functools.partial(_within, report.progress, begin, end),
            seed=request.seed,
            hold=None if request.evaluator and card else HOLD,
            shared=shared,
        )
        made.append(_vary(variation, bench, samples[0], card))
    return made


def _vary(variation: Variation, bench: Workbench, sample: Feeds, card: Card | None) -> Made:
    """Carry out one variation's techniques and export it. What is wrong with one must not end the others."""
    from fleet.optimizer.passes.export import export

    start, facts, whole = time.monotonic(), bench.facts, bench.report
    steps = 1 + len(variation.passes)
    try:
        for number, config in enumerate(variation.passes):
            bench.report = functools.partial(_within, whole, number / steps, (number + 1) / steps)
            TECHNIQUES[type(config)](config, bench)
        facts.parameters = bench.program.parameters
        if variation.passes and facts.parameters == bench.teacher.parameters:
            raise PassError("nothing could be cut: without any of it, the outputs change too much")
        whole(0.9 if variation.passes else 0.3, "exporting to ONNX")
        _write(export(bench.program, sample, _outputs(bench.program, card)), card, Path(variation.out))
    except (OptimizerError, ArithmeticError, RuntimeError, ValueError) as problem:
        if not variation.passes:
            raise
        return Made(facts=facts, error=str(problem).splitlines()[0][:500] if str(problem) else type(problem).__name__)
    facts.seconds = time.monotonic() - start
    return Made(facts=facts)


def _within(whole: Callable[[float, str], None], begin: float, end: float, share: float, text: str) -> None:
    whole(begin + (end - begin) * share, text)


def _from_onnx(request: MakeRequest, clean: Path, card: Card | None) -> list[Made]:
    import onnx

    from fleet.optimizer.passes.simplify import simplify

    if any(variation.passes for variation in request.variations):
        raise PassError("cutting and distilling need a program: they cannot be done to an .onnx file")
    start = time.monotonic()
    model = onnx.load(clean)
    inputs = onnx_file.specs(model)
    onnx_file.tidy(model)
    samples = _samples(request, inputs, [each.name for each in model.graph.output], card).feeds
    report.progress(0.4, "simplifying")
    simple, notes = simplify(model, Path.cwd(), samples)
    onnx_file.tidy(simple)
    onnx_file.keep_ends(simple, model)
    facts = ModelFacts(notes=notes)
    facts.parameters = sum(math.prod(tensor.dims) for tensor in simple.graph.initializer)
    for variation in request.variations:
        _write(simple, card, Path(variation.out))
    facts.seconds = time.monotonic() - start
    return [Made(facts=facts) for _ in request.variations]


def _write(model: "ModelProto", card: Card | None, folder: Path) -> None:
    _check_card(model, card)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))


def _samples(request: MakeRequest, inputs: Sequence[InputSpec], outputs: Sequence[str], card: Card | None) -> Samples:
    """What all variants are compared on, also written to samples.npz."""
    make_batches = generator(request.evaluator)
    if request.evaluation:
        samples = read(Path(request.evaluation), inputs)
    elif make_batches and card:
        samples = Samples(split(next(make_batches(card, SAMPLES, SAMPLE_SEED))))
    else:
        samples = Samples(synthetic(inputs, card))
    names = {spec.name for spec in inputs}
    if names != set(samples.feeds[0]):
        given = ", ".join(sorted(samples.feeds[0]))
        raise IntakeError(f"the model takes {', '.join(sorted(names))}; its card or evaluator gives {given}")
    answered = set(samples.expected[0]) if samples.expected else set()
    if not answered <= set(outputs):
        raise IntakeError(
            f"the evaluation set has right answers for {named(answered - set(outputs))}; "
            f"the model's outputs are {named(outputs)}"
        )
    arrays = {f"input/{name}": np.stack([each[name] for each in samples.feeds]) for name in sorted(names)}
    if samples.expected:
        first = samples.expected[0]
        arrays |= {f"{EXPECTED}{name}": np.stack([each[name] for each in samples.expected]) for name in first}
    np.savez(request.samples, allow_pickle=False, **arrays)
    return samples


def _batches(request: MakeRequest, program: "Program", samples: list[Feeds], card: Card | None) -> Iterator[Feeds]:
    """What techniques learn from: the evaluator's generator where there is one, else the samples again and again."""
    make_batches = generator(request.evaluator)
    if make_batches and card:
        return make_batches(card, BATCH, LEARNING_SEED)
    if not program.batched:  # one request is all that it takes at a time
        return itertools.cycle(samples)
    return itertools.chain([join(samples)], endless(samples, BATCH, request.seed))


def _outputs(program: "Program", card: Card | None) -> list[str]:
    """As the program names them; one that names none gives the card's first."""
    names = list(program.outputs)
    if card and card.actions.output not in names:
        names[0] = card.actions.output
    return names


def _check_card(model: "ModelProto", card: Card | None) -> None:
    """A card that does not fit the model is found now, not on a device."""
    if card is None:
        return
    inputs, outputs = [each.name for each in model.graph.input], [each.name for each in model.graph.output]
    if set(card.inputs) != set(inputs):
        raise IntakeError(f"the policy card names the inputs {sorted(card.inputs)}, the model takes {sorted(inputs)}")
    if card.actions.output not in outputs:
        raise IntakeError(f"the policy card names the output {card.actions.output!r}, the model has {sorted(outputs)}")


if __name__ == "__main__":
    # Deprecations within torch: nothing that a person who uploads a model could act on.
    warnings.simplefilter("ignore")
    report.serve(MakeRequest, make)
