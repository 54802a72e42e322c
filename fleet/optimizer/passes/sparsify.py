"""Unstructured pruning: the weights that matter least become zero. It makes a file smaller to send, and nothing else.

Zeros are stored and multiplied like other numbers, so neither the file nor the memory nor the latency shrinks; what
shrinks is what a transport's compression leaves. A weight matters as much as it is large and its input is (|w|·‖x‖,
Wanda, Sun et al., ICLR 2024), compared within one output, so that no output loses all of its weights.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from fleet.optimizer.errors import PassError
from fleet.optimizer.passes import parts
from fleet.optimizer.passes.activations import watch

if TYPE_CHECKING:
    from onnx import ModelProto

    from fleet.optimizer.inputs import Feeds

#: Smaller tensors save too little.
MIN_ELEMENTS = 1024
SAMPLES = 32

Doubles = NDArray[np.float64]


class Sparsify(msgspec.Struct, frozen=True, tag_field="pass", tag="sparsify"):
    """Set `share` of each output's weights to zero; `apart` has other shares by the beginning of a weight's name."""

    share: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    apart: tuple[tuple[str, float], ...] = ()


def sparsify(
    config: Sparsify, model: "ModelProto", folder: Path, samples: Sequence["Feeds"]
) -> tuple["ModelProto", list[str]]:
    """The model with zeros, and how many of its weights they are. Raises PassError when it has nothing to zero."""
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == 1}
    found = {}
    for node in model.graph.node:
        axis = _input_axis(node.op_type, {each.name: each.i for each in node.attribute})
        if axis is not None and len(node.input) > 1 and node.input[1] in weights:
            found[node.input[1]] = (node.input[0], axis, node.op_type)
    found = {name: each for name, each in found.items() if np.prod(weights[name].dims) >= MIN_ELEMENTS}
    if not found:
        raise PassError("the model has no multiplication with fixed weights")
    norms = _norms(model, {taken: kind for taken, _, kind in found.values()}, folder, samples[:SAMPLES])
    zeros = total = 0
    for name, (taken, axis, _) in found.items():
        weight = numpy_helper.to_array(weights[name]).copy()
        share = parts.of(name, config.apart, config.share)
        gone = least(weight, norms[taken], axis, share)
        weight[gone] = 0
        weights[name].CopyFrom(numpy_helper.from_array(weight, name))
        zeros, total = zeros + int(gone.sum()), total + weight.size
    return model, [f"{zeros:,} of {total:,} weights are zero: smaller to send, but neither on disk nor in memory"]


def least(weight: "NDArray[np.float32]", norm: Doubles, axis: int, share: float) -> NDArray[np.bool_]:
    """Which weights go: of each output the `share` that matters least. `axis` is the inputs', norm [its size or 1].

    The outputs lie on axis 0 of a convolution [out, in, …] and on the other axis of a matrix.
    """
    matters = np.abs(weight) * norm.reshape([-1 if place == axis else 1 for place in range(weight.ndim)])
    outputs = np.moveaxis(matters, 1 - axis, 0).reshape(weight.shape[1 - axis], -1)
    gone = np.zeros(outputs.shape, bool)
    count = int(share * outputs.shape[1])
    np.put_along_axis(gone, np.argsort(outputs, axis=1, kind="stable")[:, :count], True, axis=1)
    moved = np.moveaxis(matters, 1 - axis, 0).shape
    return np.moveaxis(gone.reshape(moved), 0, 1 - axis)


def _input_axis(kind: str, attributes: dict[str, int]) -> int | None:
    """Which axis of a weight runs over the inputs of one output."""
    if kind == "Gemm":
        return 1 if attributes.get("transB") else 0
    return {"MatMul": 0, "Conv": 1}.get(kind)


def _norms(model: "ModelProto", kinds: dict[str, str], folder: Path, samples: Sequence["Feeds"]) -> dict[str, Doubles]:
    """The root mean square of each channel that flows into a multiplication."""
    sums: dict[str, Doubles] = {}
    for values in watch(model, list(kinds), folder, samples):
        for name, value in values.items():
            channels = np.moveaxis(np.asarray(value, np.float64), 1 if kinds[name] == "Conv" else -1, -1)
            squares = np.square(channels).reshape(-1, channels.shape[-1]).mean(0)
            sums[name] = sums.get(name, np.zeros_like(squares)) + squares
    return {name: np.sqrt(total / max(1, len(samples))) for name, total in sums.items()}
