"""What the agent adds to a bare ONNX Runtime, by its local API and as a plain object; and what it costs a board.

A model of a third of a million parameters, one thread; each call in turn with the bare runtime's. The local API runs in
a process of its own, as on a device: `python -m bench.agent FOLDER` serves the model in a folder until its standard
input ends, and prints its port.
"""

import http.client
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from agent.addresses import Listen
from agent.inference import inference_engine
from agent.inference.inference_engine import InferenceEngine, LoadedModel
from agent.inference.local_api import LocalApi
from bench import _ahead, footprint
from bench.rows import Row

SIZES = (256, 512, 384, 32)
CALLS, WARM_UP = 4000, 200


def run() -> list[Row]:
    folder = Path(tempfile.mkdtemp(prefix="edgefleet-bench-"))
    try:
        _write_model(folder)
        rows = _measured(folder)
        (folder / "policy").mkdir()
        return [*rows, *_ahead.measured(folder / "policy"), *footprint.rows(folder)]
    finally:
        shutil.rmtree(folder)


def _write_model(folder: Path) -> None:
    """A small perceptron without a policy card, and a golden observation to warm up on."""
    random = np.random.default_rng(0)
    nodes, weights, last = [], [], "x"
    for number, (size, width) in enumerate(pairwise(SIZES)):
        weights.append(numpy_helper.from_array(random.normal(0, 0.05, (size, width)).astype(np.float32), f"w{number}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{number}"], [f"m{number}"]))
        last = f"y{number}"
        nodes.append(helper.make_node("Tanh", [f"m{number}"], [last]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, SIZES[0]])]
    outputs = [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, SIZES[-1]])]
    graph = helper.make_graph(nodes, "small", inputs, outputs, weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), folder / "model.onnx"
    )
    golden = {"input/x": np.zeros((1, 1, SIZES[0]), np.float32), f"output/{last}": np.zeros((1, 1, SIZES[-1]))}
    np.savez(folder / "golden.npz", allow_pickle=False, **golden)


def _measured(folder: Path) -> list[Row]:
    feeds = {"x": np.random.default_rng(1).normal(0, 1, (1, SIZES[0])).astype(np.float32)}
    session = onnxruntime.InferenceSession(folder / "model.onnx", _options(), providers=["CPUExecutionProvider"])
    engine = InferenceEngine()
    engine.swap(_loaded(folder))
    tensor = {"name": "x", "datatype": "FP32", "shape": feeds["x"].shape}
    tensor["parameters"] = {"binary_data_size": feeds["x"].nbytes}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    body, headers = head + feeds["x"].tobytes(), {"Inference-Header-Content-Length": str(len(head))}
    served = subprocess.Popen(  # noqa: S603 -- this very module
        [sys.executable, "-m", "bench.agent", str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with served as process:
        assert process.stdin and process.stdout  # noqa: S101 -- they were asked for
        client = http.client.HTTPConnection("127.0.0.1", int(process.stdout.readline()))

        def over_http() -> None:
            client.request("POST", "/v2/models/small/infer", body, headers)
            answer = client.getresponse()
            data = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"the local API answered {answer.status}: {data[:200]!r}")

        calls = (lambda: session.run(None, feeds), lambda: engine.infer(feeds), over_http)
        times: tuple[list[float], ...] = ([], [], [])
        for number in range(WARM_UP + CALLS):
            for call, own in zip(calls, times, strict=True):
                start = time.perf_counter()
                call()
                if number >= WARM_UP:
                    own.append(1e3 * (time.perf_counter() - start))
        client.close()
        process.stdin.close()
    bare, inside, outside = map(statistics.median, times)
    return [
        Row(
            "HTTP call, small model, median over bare onnxruntime",
            *(outside - bare, "ms", 0.6, "lower"),
            baseline=bare,
            ratio=outside / bare,
            n=CALLS,
        ),
        Row(
            "in-process call over bare onnxruntime",
            *(1e3 * (inside - bare), "µs", 50, "lower"),
            baseline=1e3 * bare,
            ratio=inside / bare,
            n=CALLS,
        ),
    ]


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return options


def _loaded(folder: Path) -> LoadedModel:
    return inference_engine.load(folder, name="small")


def serve(folder: Path) -> None:
    engine = InferenceEngine()
    engine.swap(_loaded(folder))
    api = LocalApi(engine, Listen("127.0.0.1", 0))
    api.start()
    while not api.port:
        time.sleep(0.01)
    print(api.port, flush=True)
    sys.stdin.read()
    api.stop()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
