"""What the in-process engine's cache and its asking ahead are worth: rows of `make bench NAME=agent`.

A policy that sees a camera's picture of 480 x 640, scaled to 224 x 224, and words; one thread. With and without the
cache each decision in turn. The robot takes 60 ms to carry a chunk out.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from agent.inference import inference_engine
from agent.inference.ahead import Ahead
from agent.inference.data_cache import DataCache
from agent.inference.inference_engine import InferenceEngine, LoadedModel
from bench.rows import Row

SIDE, WORDS, CHUNK, ACTIONS = 224, 8, 8, 7
#: So many decisions that a cache which does not pay has tried, and has paused, once.
DECISIONS, WARM_UP, PICTURES, CHUNKS, CHUNK_SECONDS = 1088, 20, 200, 40, 0.06


def write_policy(folder: Path) -> None:
    """A convolution over patches, a perceptron over their mean, and a policy card."""
    random = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.normal(0, 0.05, shape).astype(np.float32), name)

    weights = [
        *(weight("patch", 128, 3, 16, 16), weight("word", 64, 128), weight("up", 128, 1024)),
        weight("down", 1024, CHUNK * ACTIONS),
        numpy_helper.from_array(np.array([1, CHUNK, ACTIONS], np.int64), "shape"),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "patch"], ["patches"], strides=[16, 16]),
        helper.make_node("GlobalAveragePool", ["patches"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["seen"]),
        helper.make_node("Gather", ["word", "tokens"], ["embedded"]),
        helper.make_node("ReduceMean", ["embedded", "axis"], ["said"], keepdims=0),
        helper.make_node("Add", ["seen", "said"], ["both"]),
        helper.make_node("MatMul", ["both", "up"], ["wide"]),
        helper.make_node("Tanh", ["wide"], ["bent"]),
        helper.make_node("MatMul", ["bent", "down"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["actions"]),
    ]
    weights.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
    inputs = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE]),
        helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, WORDS]),
    ]
    outputs = [helper.make_tensor_value_info("actions", TensorProto.FLOAT, [1, CHUNK, ACTIONS])]
    graph = helper.make_graph(nodes, "policy", inputs, outputs, weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), folder / "model.onnx"
    )
    card = {
        "name": "policy",
        "inputs": {
            "image": {"kind": "image", "height": SIDE, "width": SIDE},
            "tokens": {"kind": "instruction", "length": WORDS},
        },
        "actions": {
            **{"output": "actions", "chunk": CHUNK, "size": ACTIONS, "execute": CHUNK // 2},
            **{"low": [-1] * ACTIONS, "high": [1] * ACTIONS},
        },
        "tokenizer": {"kind": "words", "vocabulary": ["", "grasp", "the", "red", "square"]},
    }
    (folder / "card.json").write_bytes(msgspec.json.encode(card))


def measured(folder: Path) -> list[Row]:
    write_policy(folder)
    model = inference_engine.load(folder)
    bare = InferenceEngine()
    pictures = np.random.default_rng(1).integers(0, 256, (PICTURES, 480, 640, 3), np.uint8)
    vain = _in_turn([bare, InferenceEngine(DataCache())], model, lambda number: pictures[number % PICTURES])
    still = _in_turn([bare, InferenceEngine(DataCache())], model, lambda number: pictures[number // 10])
    return [
        Row(
            "data cache, nothing known: processor time of a decision, more",
            *(100 * (vain[1] / vain[0] - 1), "%", 3, "lower"),
            baseline=vain[0],
            ratio=vain[1] / vain[0],
            n=DECISIONS,
        ),
        Row(
            "data cache, each picture ten times: processor time, of that without",
            *(100 * still[1] / still[0], "%", 60, "lower"),
            baseline=still[0],
            ratio=still[1] / still[0],
            n=DECISIONS,
        ),
        _waiting(bare, pictures),
    ]


def _in_turn(engines: list[InferenceEngine], model: LoadedModel, picture: Callable[[int], np.ndarray]) -> list[float]:
    """Mean milliseconds of processor time that a decision of each engine takes: all of it is this thread's."""
    times: list[list[float]] = [[] for _ in engines]
    for engine in engines:
        engine.swap(model)
    for number in range(DECISIONS):
        for engine, own in zip(engines, times, strict=True):
            start = time.thread_time()
            engine.process(picture(number), "grasp the red square")
            own.append(1e3 * (time.thread_time() - start))
    return [statistics.fmean(own[WARM_UP:]) for own in times]


def _waiting(engine: InferenceEngine, pictures: np.ndarray) -> Row:
    """How long a robot stands still between two chunks, asked for ahead and asked for afterwards."""
    waits: tuple[list[float], list[float]] = ([], [])
    ahead = Ahead(engine)
    for number in range(CHUNKS):
        start = time.perf_counter()
        engine.process(pictures[number], "grasp the red square")
        waits[0].append(1e3 * (time.perf_counter() - start))
        asked = ahead.ask(pictures[number], "grasp the red square")
        time.sleep(CHUNK_SECONDS)  # the robot carries a chunk out
        start = time.perf_counter()
        asked.result(1)
        waits[1].append(1e3 * (time.perf_counter() - start))
    ahead.stop()
    after, before = map(statistics.median, waits)
    return Row(
        "a robot's wait for its next actions, asked for ahead",
        *(before, "ms", 1, "lower"),
        baseline=after,
        ratio=before / after,
        n=CHUNKS,
    )
