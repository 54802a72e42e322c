"""A policy that sees and reads, as small as one can be."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def seeing_variant(side: int = 4, length: int = 2, words: str = "look") -> dict[str, Any]:
    """What `variant` takes for a model whose every action is the image's mean red, green and blue.

    It sees side x side pixels, and reads so many of the words.
    """
    nodes = [
        helper.make_node("ReduceMean", ["camera", "axes"], ["mean"], keepdims=0),
        helper.make_node("Cast", ["words"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["numbers"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "nothing"], ["naught"]),
        helper.make_node("Add", ["mean", "naught"], ["read"]),
        helper.make_node("Expand", ["read", "chunk"], ["wide"]),
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
        ],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, [1, 2, 3])],
        initializers,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made)
    return {
        "model_bytes": bytes(made.SerializeToString()),
        "card_changes": {
            "inputs": {
                "camera": {"kind": "image", "height": side, "width": side},
                "words": {"kind": "instruction", "length": length},
            },
            "tokenizer": {"kind": "words", "vocabulary": ["<pad>", *words.split()]},
        },
    }
