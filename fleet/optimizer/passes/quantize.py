"""Dynamic int8: weights in eight bits, activations rounded to eight bits at each call, multiplication in whole numbers.

Signed weights, one scale per channel, embeddings too: unsigned weights take 24 ms where signed ones take 12. It speeds
large models up (5.8 million parameters 1.55 times, 16.7 million 2 times) and slows small ones down (1.3 million: 0.83
times), so a search measures it instead of trusting it. What a policy cannot bear to have rounded is found by measuring
too: each group of layers is quantized alone, and those whose outputs suffer most stay in float32.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from fleet.optimizer.errors import PassError

if TYPE_CHECKING:
    from onnx import ModelProto

    from fleet.optimizer.inputs import Feeds

_KINDS = ("MatMul", "Gemm", "Gather")
#: Groups of layers that are tried one by one: each costs a model to make, to load and to run.
MAX_GROUPS = 12
#: Samples that the outputs are compared on.
SAMPLES = 12


#: Quantizes a model file into another: only these nodes (None: all), without those.
Run = Callable[[Path, Path, list[str] | None, list[str]], None]


class Quantize(msgspec.Struct, frozen=True, tag_field="pass", tag="quantize"):
    """Quantize to int8; with `keep_sensitive`, leave out the layers that cause most of the error.

    keep_error: the share of the summed squared error that the layers which are quantized may still have.
    max_kept: the share of the weights' bytes that may stay in float32 for it.
    """

    keep_sensitive: bool = True
    keep_error: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.25
    max_kept: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.25


def quantize(
    config: Quantize, model: "ModelProto", folder: Path, samples: Sequence["Feeds"]
) -> tuple["ModelProto", list[str]]:
    """The quantized model, and notes on what stays in float32. Raises PassError when nothing can be quantized."""
    import onnx

    source = folder / "before.onnx"
    onnx.save(model, source)
    groups = grouped(model)
    if not groups:
        raise PassError("the model has no matrix multiplication with fixed weights that could be quantized")
    sensitive: list[str] = []
    if config.keep_sensitive:
        sensitive = leave_out(config, source, folder, groups, samples, _run)
    left_out = [node for name in sensitive for node in groups[name].nodes]
    target = folder / "after.onnx"
    _run(source, target, None, left_out)
    notes = [f"left in float32, measured as sensitive: {', '.join(sensitive)}"] if sensitive else []
    return onnx.load(target), notes


class Group(msgspec.Struct):
    """Layers that are decided on together: node names, and the bytes of their weights."""

    nodes: list[str]
    size: int = 0


def grouped(model: "ModelProto", kinds: Sequence[str] = _KINDS) -> dict[str, Group]:
    """Quantizable nodes by the name of their weight, as far as its first parts say the same, at most MAX_GROUPS."""
    sizes = {tensor.name: len(tensor.raw_data) for tensor in model.graph.initializer if tensor.data_type == 1}
    weights = {
        node.name: next(name for name in node.input if name in sizes and sizes[name] > 1024)
        for node in model.graph.node
        if node.op_type in kinds and any(sizes.get(name, 0) > 1024 for name in node.input)
    }
    deepest = max((name.count(".") for name in weights.values()), default=0)
    for depth in range(deepest, -1, -1):
        groups: dict[str, Group] = {}
        for node, weight in weights.items():
            group = groups.setdefault(".".join(weight.split(".")[: depth + 1]), Group([]))
            group.nodes.append(node)
            group.size += sizes[weight]
        if len(groups) <= MAX_GROUPS:
            return groups
    # Names that say nothing: neighbours in the graph belong together.
    names = list(weights)
    step = -(-len(names) // MAX_GROUPS)
    return {
        weights[names[at]]: Group(names[at : at + step], sum(sizes[weights[each]] for each in names[at : at + step]))
        for at in range(0, len(names), step)
    }


def leave_out(
    config: Quantize,
    source: Path,
    folder: Path,
    groups: dict[str, Group],
    samples: Sequence["Feeds"],
    run: Run,
) -> list[str]:
    """The groups that stay in float32: the worst ones, until the others' errors together are small enough."""
    from agent.inference import runtimes

    if len(groups) < 2:
        return []
    few = samples[:SAMPLES]
    expected = _outputs(runtimes.load(source), few)
    errors: dict[str, float] = {}
    for name, group in groups.items():
        alone = folder / "alone.onnx"
        run(source, alone, group.nodes, [])
        found = _outputs(runtimes.load(alone), few)
        errors[name] = sum(float(((a - b) ** 2).sum()) for a, b in zip(found, expected, strict=True))
    return choose_sensitive(config, errors, {name: group.size for name, group in groups.items()})


def choose_sensitive(config: Quantize, errors: dict[str, float], sizes: dict[str, int]) -> list[str]:
    """Groups by falling error, until what is left of the squared error is the wanted share or enough bytes are kept."""
    total, room = sum(errors.values()), config.max_kept * sum(sizes.values())
    left, chosen = total, []
    for name in sorted(errors, key=lambda each: errors[each], reverse=True):
        if left <= config.keep_error * total:
            break
        if sizes[name] <= room:
            chosen.append(name)
            room -= sizes[name]
            left -= errors[name]
    return chosen


def _outputs(model: object, samples: Sequence["Feeds"]):  # type: ignore[no-untyped-def]  # arrays of any kind
    import numpy as np

    return [
        np.concatenate([np.asarray(value, np.float64).ravel() for value in model.run(feeds).values()])  # type: ignore[attr-defined]
        for feeds in samples
    ]


def _run(source: Path, target: Path, only: list[str] | None, without: list[str]) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=list(_KINDS),
        per_channel=True,
        weight_type=QuantType.QInt8,
        nodes_to_quantize=only,
        nodes_to_exclude=without,
        extra_options={"MatMulConstBOnly": True},
    )
