"""A policy that sees and reads, as small as one can be."""

import io
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def seeing_variant(side: int = 4, length: int = 2, words: str = "look", state: int = 0) -> dict[str, Any]:
    """What `variant` takes for a model whose every action is the image's mean red, green and blue.

    It sees side x side pixels, reads so many of the words, and feels so many numbers; each change nothing.
    """
    inputs = {
        "camera": {"kind": "image", "height": side, "width": side},
        "words": {"kind": "instruction", "length": length},
    }
    nodes = [
        helper.make_node("ReduceMean", ["camera", "axes"], ["mean"], keepdims=0),
        helper.make_node("Cast", ["words"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["numbers"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "nothing"], ["naught"]),
        helper.make_node("Add", ["mean", "naught"], ["read"]),
        *_feeling(state),
        helper.make_node("Expand", ["felt" if state else "read", "chunk"], ["wide"]),
        helper.make_node("Reshape", ["wide", "shape"], ["actions"]),
    ]
    constants = {"axes": [2, 3], "chunk": [2, 3], "shape": [1, 2, 3]}
    initializers = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()]
    initializers.append(numpy_helper.from_array(np.array(0, np.float32), "nothing"))
    graph = helper.make_graph(
        nodes,
        "seeing",
        [
            helper.make_tensor_value_info("camera", TensorProto.FLOAT, [1, 3, side, side]),
            helper.make_tensor_value_info("words", TensorProto.INT64, [1, length]),
            *([helper.make_tensor_value_info("body", TensorProto.FLOAT, [1, state])] if state else []),
        ],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, [1, 2, 3])],
        initializers,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made)
    if state:
        inputs["body"] = {"kind": "state", "size": state}
    return {
        "model_bytes": bytes(made.SerializeToString()),
        "golden_bytes": _golden(side, length, state),
        "card_changes": {
            "inputs": inputs,
            "tokenizer": {"kind": "words", "vocabulary": ["<pad>", *words.split()]},
        },
    }


def _feeling(state: int) -> list[onnx.NodeProto]:
    if not state:
        return []
    return [
        helper.make_node("ReduceSum", ["body"], ["weight"], keepdims=0),
        helper.make_node("Mul", ["weight", "nothing"], ["none"]),
        helper.make_node("Add", ["read", "none"], ["felt"]),
    ]


def _golden(side: int, length: int, state: int, samples: int = 3) -> bytes:
    """Made-up observations with the right answers."""
    camera = np.random.default_rng(5).random((samples, 1, 3, side, side), np.float32)
    arrays = {"input/camera": camera, "input/words": np.zeros((samples, 1, length), np.int64)}
    if state:
        arrays["input/body"] = np.ones((samples, 1, state), np.float32)
    means = camera.mean(axis=(3, 4))
    arrays["output/actions"] = np.repeat(means, 2, axis=1).reshape(samples, 1, 2, 3)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()
