"""One artifact, several libraries that run it: the same answers, the same words for what it takes."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from agent.inference import inference_engine, runtimes
from agent.inference.inference_engine import InferenceEngine
from agent.inference.runtimes import DEFAULT, Backend, ModelError, Tensor
from tests.agent.inference.folders import folder_of
from tests.agent.variants import model, variant
from tests.foreign import file_of

OPENVINO = Backend("openvino")
BACKENDS = [DEFAULT, OPENVINO]


@pytest.fixture(params=BACKENDS, ids=str)
def backend(request):
    return request.param


@pytest.fixture
def load(tmp_path, backend):
    def made(data: bytes) -> runtimes.Runtime:
        (tmp_path / "model.onnx").write_bytes(data)
        return runtimes.load(tmp_path / "model.onnx", 1, backend)

    return made


def test_says_what_it_takes_and_answers(load):
    loaded = load(model(2.0))

    assert loaded.inputs == {"state": Tensor("float32", (1, 4))}
    assert loaded.outputs == {"actions": Tensor("float32", (1, 2, 3))}
    assert loaded.run({"state": np.array([[1, 2, 3, 4]], np.float32)})["actions"].tolist() == [[[20.0] * 3] * 2]


def test_an_answer_stays_what_it_was_when_the_model_answers_again(load):
    loaded = load(model(1.0))
    first = loaded.run({"state": np.ones((1, 4), np.float32)})["actions"]
    loaded.run({"state": np.zeros((1, 4), np.float32)})

    assert first.tolist() == [[[4.0] * 3] * 2]


def test_a_model_that_cannot_be_loaded_or_fed_says_why(load):
    with pytest.raises(ModelError, match="does not load"):
        load(b"\x08\x08 no model")
    with pytest.raises(ModelError, match="does not run"):
        load(model()).run({"state": np.zeros((1, 5), np.float32)})


def test_free_sizes_numbers_and_several_outputs(load):
    inputs = [
        helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", 3]),
        helper.make_tensor_value_info("rate", TensorProto.INT64, []),
    ]
    outputs = [
        helper.make_tensor_value_info("twice", TensorProto.FLOAT, ["batch", 3]),
        helper.make_tensor_value_info("more", TensorProto.INT64, []),
    ]
    nodes = [helper.make_node("Add", ["rows", "rows"], ["twice"]), helper.make_node("Add", ["rate", "rate"], ["more"])]
    made = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )
    loaded = load(made.SerializeToString())

    assert loaded.inputs == {"rows": Tensor("float32", (None, 3)), "rate": Tensor("int64", ())}
    found = loaded.run({"rows": np.ones((2, 3), np.float32), "rate": np.array(8, np.int64)})
    assert found["twice"].tolist() == [[2.0] * 3] * 2
    assert int(found["more"]) == 16
    assert list(found) == ["twice", "more"]


def test_a_published_model_answers_alike(tmp_path):
    path = file_of("magika", "models/standard_v3_3/model.onnx")
    one, other = (runtimes.load(path, 1, backend) for backend in BACKENDS)
    feeds = {"bytes": np.random.default_rng(0).integers(0, 256, (1, 2048)).astype(np.int32)}

    assert one.inputs == other.inputs
    for name, answer in one.run(feeds).items():
        np.testing.assert_allclose(other.run(feeds)[name], answer, atol=1e-4)


def test_weights_that_are_stored_in_int8_are_not_multiplied_in_int8(tmp_path):
    """Stored narrow and widened on loading: the answers that were measured are those of float32 arithmetic."""
    random = np.random.default_rng(3)
    narrow = random.integers(-127, 128, (64, 64), np.int8)
    nodes = [
        helper.make_node("Cast", ["narrow"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["wide", "scale"], ["weight"]),
        helper.make_node("MatMul", ["x", "weight"], ["y"]),
    ]
    weights = [
        onnx.numpy_helper.from_array(narrow, "narrow"),
        onnx.numpy_helper.from_array(np.full((1, 64), 0.01, np.float32), "scale"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
        weights,
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "model.onnx"
    )
    x = random.normal(0, 1, (1, 64)).astype(np.float32)

    for backend in BACKENDS:
        found = runtimes.load(tmp_path / "model.onnx", 1, backend).run({"x": x})["y"]
        np.testing.assert_allclose(found, x @ (narrow * np.float32(0.01)), rtol=1e-4, atol=1e-4)


def test_what_is_not_here_is_said(tmp_path):
    (tmp_path / "model.onnx").write_bytes(model())
    for backend, words in (
        (Backend("onnxruntime", "CUDA"), "build of ONNX Runtime has no CUDA"),
        (Backend("openvino", "GPU"), "does not load"),
        (Backend("tvm"), "no runtime 'tvm'"),
    ):
        with pytest.raises(ModelError, match=words):
            runtimes.load(tmp_path / "model.onnx", 1, backend)
    with pytest.raises(ModelError, match=r"no runtime for model\.pt2"):
        runtimes.load(tmp_path / "model.pt2")


def test_it_knows_the_libraries_without_importing_them():
    code = """
import sys
from agent.inference import runtimes
print(" ".join(runtimes.installed()))
print(" ".join(name for name in ("onnxruntime", "openvino", "numpy", "importlib.metadata") if name in sys.modules))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()

    assert {name.partition("-")[0] for name in said[0].split()} >= {"onnxruntime", "openvino"}
    assert said[1] == ""


def test_nobody_elses_computer_is_a_provider():
    assert all(backend.provider not in ("Azure", "CPU") for backend in runtimes.others() if backend != OPENVINO)
    assert OPENVINO in runtimes.others()


def test_the_engine_decides_with_any_of_them(tmp_path, backend):
    engine = InferenceEngine()
    engine.swap(inference_engine.load(folder_of(variant(2.0), tmp_path / "a"), backend=backend, threads=2))

    assert engine.infer({"state": np.array([[1, 2, 3, 4]], np.float32)})["actions"].max() == 20
    assert (engine.model.backend, engine.model.threads) == (backend, 2)
