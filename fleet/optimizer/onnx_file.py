"""An ONNX model made small and tidy: no traces of where it was made, weights under their own names."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fleet.optimizer.errors import IntakeError
from fleet.optimizer.inputs import InputSpec

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

_NAMELESS_ELEMENTS = 256
#: The version of the format from which on a weight need not be an input of the graph.
WEIGHTS_ALONE = 4


def tidy(model: "ModelProto") -> None:
    """Lift Constant nodes to initializers (quantizing wants that), drop what is unused and what tells of the exporter.

    An exporter writes stack traces with the paths of the person's machine, 8 % of the demonstration's file.
    """
    for each in graphs(model.graph):
        _lift_constants(each)
        _raw(each)
    graph = model.graph
    # Before that, every weight had to be an input as well.
    model.ir_version = max(model.ir_version, WEIGHTS_ALONE)
    weights = {tensor.name for tensor in graph.initializer}
    needed = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    needed |= _captured(graph)
    kept = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    inputs = [each for each in graph.input if each.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    model.ClearField("metadata_props")
    model.producer_name = model.producer_version = model.doc_string = model.domain = ""
    for field in ("value_info", "metadata_props", "doc_string", "quantization_annotation"):
        graph.ClearField(field)
    for number, node in enumerate(graph.node):
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
        # Quantizing names the nodes that it leaves alone.
        node.name = node.name or f"{node.op_type}_{number}"
    for each in (*graph.input, *graph.output, *graph.initializer):
        each.ClearField("metadata_props")
        each.ClearField("doc_string")


def keep_ends(model: "ModelProto", original: "ModelProto") -> None:
    """Describe inputs and outputs as the original does, also where a size is free and has no name."""
    described = {each.name: each for each in (*original.graph.input, *original.graph.output)}
    for each in (*model.graph.input, *model.graph.output):
        each.CopyFrom(described[each.name])


def graphs(graph: "GraphProto") -> Iterator["GraphProto"]:
    """This graph and those within it (If, Loop): a model may keep all of its weights in a branch."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from graphs(inner)


def _raw(graph: "GraphProto") -> None:
    """Tensors may be stored as lists of numbers: whatever weighs or changes them wants them as bytes."""
    from onnx import numpy_helper

    for tensor in graph.initializer:
        if not tensor.raw_data and tensor.data_type == 1 and len(tensor.float_data):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))


def _lift_constants(graph: "GraphProto") -> None:
    nodes = []
    given = {output.name for output in graph.output}  # what a branch gives has to be computed there
    for node in graph.node:
        tensor = next((each.t for each in node.attribute if each.name == "value"), None)
        plain = node.op_type == "Constant" and node.domain in {"", "ai.onnx"} and node.output[0] not in given
        if plain and tensor is not None:
            lifted = graph.initializer.add()
            lifted.CopyFrom(tensor)
            lifted.name = node.output[0]
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _captured(graph: Any) -> set[str]:
    """Names of the outer graph that graphs within it (If, Loop) read."""
    names: set[str] = set()
    for node in graph.node:
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                names |= {name for each in inner.node for name in each.input}
                names |= {output.name for output in inner.output} | _captured(inner)
    return names


def name_weights(model: "ModelProto", weights: Mapping[str, NDArray[Any]]) -> None:
    """Give initializers the names of the weights that they are, also of transposed ones.

    An exporter calls them `val_47`; a card's parts and the reuse of parts between versions need names that stay.
    """
    from onnx import numpy_helper

    known: dict[bytes, str] = {}
    for name, weight in weights.items():
        if weight.size >= _NAMELESS_ELEMENTS:
            known.setdefault(_print(weight), name)
            if weight.ndim == 2:
                known.setdefault(_print(weight.T), name)
    taken = {tensor.name for tensor in model.graph.initializer}
    renamed: dict[str, str] = {}
    for tensor in model.graph.initializer:
        name = known.get(_print(numpy_helper.to_array(tensor)), "")
        if name and name not in taken:
            taken.add(name)
            renamed[tensor.name] = name
            tensor.name = name
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)


def _print(array: NDArray[Any]) -> bytes:
    return hashlib.sha256(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes()).digest()


def specs(model: "ModelProto") -> list[InputSpec]:
    """The inputs, free sizes as None. Raises IntakeError for an input that is no tensor."""
    from onnx import helper

    initializers = {tensor.name for tensor in model.graph.initializer}
    found = []
    for value in model.graph.input:
        if value.name in initializers:
            continue
        if not value.type.HasField("tensor_type"):
            kind = value.type.WhichOneof("value") or "nothing"
            raise IntakeError(f"the input {value.name[:80]!r} is no tensor but {kind.removesuffix('_type')}")
        tensor = value.type.tensor_type
        try:
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
        except (KeyError, TypeError) as problem:
            raise IntakeError(f"the input {value.name[:80]!r} has a type that is not supported") from problem
        if dtype == "object":
            raise IntakeError(f"the input {value.name[:80]!r} is text: let the model begin at the numbers made of it")
        if not tensor.HasField("shape"):
            raise IntakeError(f"the input {value.name[:80]!r} has no number of dimensions: export it with a shape")
        # Some exporters write 0 or -1 for a size that is free.
        shape = tuple(size.dim_value if size.dim_value > 0 else None for size in tensor.shape.dim)
        found.append(InputSpec(value.name, dtype, shape))
    return found
