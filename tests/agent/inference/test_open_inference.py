"""Tensors to bytes and back, in JSON and raw."""

import json

import numpy as np
import pytest

from agent.inference import open_inference
from agent.inference.open_inference import DTYPES
from agent.inference.runtimes import DEFAULT, InputError, Tensor


class Model:
    name, version = "m", "3"


def values(dtype: str) -> np.ndarray:
    if dtype == "bool":
        return np.array([[True, False], [False, True]])
    if dtype.startswith("float"):
        return np.array([[0.5, -2], [3, 0]], dtype)
    return np.array([[np.iinfo(dtype).min, 1], [2, np.iinfo(dtype).max]], dtype)


def request(array: np.ndarray, datatype: str, *, binary: bool, outputs: list | None = None) -> tuple[bytes, int]:
    tensor: dict = {"name": "x", "datatype": datatype, "shape": array.shape}
    if binary:
        tensor["parameters"] = {"binary_data_size": array.nbytes}
    else:
        tensor["data"] = array.tolist()
    head = json.dumps({"id": "r", "inputs": [tensor], "outputs": outputs or []}).encode()
    return head + (array.tobytes() if binary else b""), len(head)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype_comes_through_as_it_was(datatype, binary):
    given = values(DTYPES[datatype])
    wish, feeds = open_inference.read(*request(given, datatype, binary=binary))
    found = feeds["x"]
    assert (found.dtype, found.tolist()) == (given.dtype, given.tolist())
    assert found.flags.aligned

    pieces, head = open_inference.write(wish, {"y": found}, Model)
    told = json.loads(pieces[0])["outputs"][0]
    assert (head, told["datatype"], told["shape"], told["data"]) == (None, datatype, [2, 2], given.ravel().tolist())


def test_raw_outputs_follow_the_json_in_the_order_that_was_wished_for():
    outputs = {"a": np.arange(6, dtype=np.int16).reshape(2, 3).T, "b": np.float32(7), "c": np.array([True])}
    wished = [
        {"name": "c", "parameters": {"binary_data": True}},
        {"name": "b"},
        {"name": "a", "parameters": {"binary_data": True}},
    ]
    body, size = request(np.zeros(1, np.float32), "FP32", binary=True, outputs=wished)
    wish, _ = open_inference.read(body, size)
    pieces, head = open_inference.write(wish, outputs, Model)
    reply = json.loads(pieces[0])

    assert head == len(pieces[0])
    assert (reply["id"], reply["model_name"], reply["model_version"]) == ("r", "m", "3")
    assert [(each["name"], each["shape"]) for each in reply["outputs"]] == [("c", [1]), ("b", []), ("a", [3, 2])]
    assert reply["outputs"][1]["data"] == [7.0]
    assert [each.get("parameters") for each in reply["outputs"]] == [
        {"binary_data_size": 1},
        None,
        {"binary_data_size": 12},
    ]
    assert bytes(pieces[1]) == b"\1"
    assert np.frombuffer(pieces[2], "<i2").reshape(3, 2).tolist() == [[0, 3], [1, 4], [2, 5]]


def test_truth_is_any_byte_but_zero():
    head = json.dumps(
        {"inputs": [{"name": "x", "datatype": "BOOL", "shape": [3], "parameters": {"binary_data_size": 3}}]}
    ).encode()
    _, feeds = open_inference.read(head + b"\x00\x01\xff", len(head))

    assert feeds["x"].tobytes() == b"\0\1\1"


def test_no_numbers_at_all_are_a_tensor_too():
    for binary in (False, True):
        _, feeds = open_inference.read(*request(np.zeros((2, 0), np.float32), "FP32", binary=binary))
        assert feeds["x"].shape == (2, 0)


def test_what_the_model_has_not_is_refused_before_it_runs():
    known = {"y": Tensor("float32", (1,))}
    for wished, words in (
        ({"name": "z"}, "no output 'z'; it gives y"),
        ({"name": "y", "parameters": {"classification": 3}}, "classification"),
    ):
        wish, _ = open_inference.read(*request(np.zeros(1, np.float32), "FP32", binary=False, outputs=[wished]))
        with pytest.raises(InputError, match=words):
            open_inference.check_outputs(wish, known)


@pytest.mark.parametrize(
    ("tensor", "told"),
    [
        (Tensor("float16", (None, 3)), {"name": "x", "datatype": "FP16", "shape": [-1, 3]}),
        (Tensor("", ()), {"name": "x", "datatype": "BYTES", "shape": []}),
    ],
)
def test_free_sizes_are_minus_one(tensor, told):
    class Runtime:
        inputs, outputs = {"x": tensor}, {}

    class Loaded(Model):
        backend = DEFAULT
        runtime = Runtime

    assert open_inference.model_metadata(Loaded)["inputs"] == [told]
