"""Low-rank factors: a wide matrix becomes two narrow ones, where what really flows through it allows.

The plain singular value decomposition keeps what is large in the weights; what matters is what is large in the outputs.
So the weight is decomposed in the metric of its inputs: with G the second moment of the inputs and G = C Cᵀ, the best
rank-r approximation of CᵀW, taken back by C⁻ᵀ, loses least of X W (SVD-LLM, Wang et al., ICLR 2025, section 3.1). The
rank is the least that keeps a layer's relative error within `max_error`; a layer that saves too little that way stays.
It needs only the ONNX file, so it also serves uploads whose channels cannot be cut.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from fleet.optimizer.errors import PassError
from fleet.optimizer.passes.activations import watch

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from fleet.optimizer.inputs import Feeds

#: Narrower matrices have nothing to spare.
MIN_SIZE = 64
#: Of a matrix's bytes, what two factors may at most have to be worth a second multiplication.
WORTH = 0.7
RIDGE = 1e-6
SAMPLES = 64

Doubles = NDArray[np.float64]


class Factor(msgspec.Struct, frozen=True, tag_field="pass", tag="factor"):
    """Replace matrices by two factors; `max_error` is a layer's relative error."""

    max_error: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.03


def factor(
    config: Factor, model: "ModelProto", folder: Path, samples: Sequence["Feeds"]
) -> tuple["ModelProto", list[str]]:
    """The model with factors, and a note on each. Raises PassError when no layer allows it."""
    from onnx import numpy_helper

    layers = _layers(model)
    if not layers:
        raise PassError(f"the model has no matrix multiplication of at least {MIN_SIZE} by {MIN_SIZE}")
    moments = _moments(model, [layer.taken for layer in layers], folder, samples[:SAMPLES])
    notes = []
    for layer in layers:
        weight = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == layer.weight)
        left, right, error = factors(weight.astype(np.float64), moments[layer.taken], config.max_error)
        if left.size + right.size > WORTH * weight.size:
            continue
        _replace(model, layer, left, right)
        rows, columns = weight.shape
        notes.append(f"{layer.weight}: {rows} x {columns} to rank {left.shape[1]}, relative error {error:.3f}")
    if not notes:
        raise PassError("no layer's outputs lie close enough to fewer dimensions")
    return model, notes


class Layer(NamedTuple):
    """One multiplication by its names: what it takes, its matrix, what it gives."""

    taken: str
    weight: str
    given: str


def factors(weight: Doubles, moment: Doubles, max_error: float) -> tuple[Doubles, Doubles, float]:
    """weight [n, m] ≈ left [n, r] @ right [r, m] with the least r that keeps the error of x @ weight within max_error.

    moment is the mean of xᵀx over the inputs, [n, n]. Returns the relative error that is left, too.
    """
    ridge = RIDGE * np.trace(moment) / len(moment) + 1e-12
    root = np.linalg.cholesky(moment + ridge * np.eye(len(moment)))
    u, s, vt = np.linalg.svd(root.T @ weight, full_matrices=False)
    left_over = np.sqrt(np.append(np.cumsum(s[::-1] ** 2)[::-1], 0.0) / max(float((s**2).sum()), 1e-30))
    rank = max(1, int(np.argmax(left_over <= max_error)))
    scale = np.sqrt(s[:rank])
    left = np.linalg.solve(root.T, u[:, :rank] * scale)
    return left, scale[:, None] * vt[:rank], float(left_over[rank])


def _layers(model: "ModelProto") -> list[Layer]:
    """Multiplications by a fixed matrix that is used once."""
    sizes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer if tensor.data_type == 1}
    used = Counter(name for node in model.graph.node for name in node.input)
    return [
        Layer(node.input[0], node.input[1], node.output[0])
        for node in model.graph.node
        if node.op_type == "MatMul"
        and len(sizes.get(node.input[1], [])) == 2
        and min(sizes[node.input[1]]) >= MIN_SIZE
        and used[node.input[1]] == 1
    ]


def _moments(model: "ModelProto", names: Sequence[str], folder: Path, samples: Sequence["Feeds"]) -> dict[str, Doubles]:
    """The mean of xᵀx of each of these values over the samples, [n, n]."""
    sums: dict[str, Doubles] = {}
    counts: Counter[str] = Counter()
    for values in watch(model, names, folder, samples):
        for name, value in values.items():
            rows = np.asarray(value, np.float64).reshape(-1, value.shape[-1])
            sums[name] = sums[name] + rows.T @ rows if name in sums else rows.T @ rows
            counts[name] += len(rows)
    return {name: total / max(1, counts[name]) for name, total in sums.items()}


def _replace(model: "ModelProto", layer: Layer, left: Doubles, right: Doubles) -> None:
    from onnx import helper, numpy_helper

    graph = model.graph
    kept = [tensor for tensor in graph.initializer if tensor.name != layer.weight]
    names = [f"{layer.weight}.left", f"{layer.weight}.right"]
    kept += [
        numpy_helper.from_array(values.astype(np.float32), name)
        for name, values in zip(names, (left, right), strict=True)
    ]
    between = f"{layer.given}.narrow"
    nodes: list[NodeProto] = []
    for node in graph.node:
        if list(node.output) == [layer.given]:
            nodes.append(helper.make_node("MatMul", [layer.taken, names[0]], [between], name=between))
            nodes.append(helper.make_node("MatMul", [between, names[1]], [layer.given], name=node.name))
        else:
            nodes.append(node)
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del graph.node[:]
    graph.node.extend(nodes)
