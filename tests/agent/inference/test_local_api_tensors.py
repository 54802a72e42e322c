"""Tensors through the local API: the Open Inference Protocol as programs speak it."""

import json
import threading

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from agent.inference.inference_engine import InferenceEngine
from tests.agent.inference.apis import FLOATS, STATE, TWENTY, Program, raw, serving
from tests.agent.waiting import wait_for


@pytest.mark.parametrize("binary_out", [None, False, True])
@pytest.mark.parametrize("binary_in", [False, True])
def test_a_stock_client_works_as_it_is(engine, binary_in, binary_out):
    with serving(engine) as api, triton.InferenceServerClient(f"localhost:{api.port}") as client:
        assert client.is_server_live() and client.is_server_ready()
        assert client.is_model_ready("tiny") and client.is_model_ready("tiny", "1")
        assert not client.is_model_ready("tiny", "2") and not client.is_model_ready("large")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        told = client.get_model_metadata("tiny")
        assert told["inputs"] == [{"name": "state", "datatype": "FP32", "shape": [1, 4]}]
        assert told["outputs"] == [{"name": "actions", "datatype": "FP32", "shape": [1, 2, 3]}]

        given = triton.InferInput("state", [1, 4], "FP32")
        given.set_data_from_numpy(np.array([[1, 2, 3, 4]], np.float32), binary_data=binary_in)
        wanted = None if binary_out is None else [triton.InferRequestedOutput("actions", binary_data=binary_out)]
        for version in ("", "1"):
            answer = client.infer("tiny", [given], version, outputs=wanted, request_id="r-7")
            assert answer.as_numpy("actions").ravel().tolist() == TWENTY
            assert answer.get_response()["id"] == "r-7"
            assert answer.get_response()["model_version"] == "1"
        with pytest.raises(InferenceServerException, match="no model large here; this device runs tiny@1"):
            client.infer("large", [given])


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [1.0, 2.0, 3.0, 4.0], [[1, 2, 3, 4]]])
def test_numbers_come_flat_or_nested(program, data):
    status, told = program.infer([{**STATE, "data": data}])

    assert status == 200
    assert told["outputs"] == [{"name": "actions", "datatype": "FP32", "shape": [1, 2, 3], "data": TWENTY}]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "eyes"}, "The model has no input 'eyes'; it takes 'state' (float32 [1, 4])."),
        ({"datatype": "FP64"}, "'state' is float64, the model takes float32"),
        ({"datatype": "BYTES"}, "The datatype 'BYTES' is none of BOOL, UINT8"),
        ({"shape": [4]}, "has the shape [4], the model takes float32 [1, 4]"),
        ({"shape": [1, 5]}, "has 4 numbers, its shape [1, 5] takes 5"),
        ({"shape": [2**31, 2**31]}, "its shape [2147483648, 2147483648] takes"),
        ({"shape": [2**60]}, "not valid"),
        ({"shape": [-1, 4]}, "not valid"),
        ({"shape": [1] * 100}, "not valid"),
        ({"shape": [0, 2**31, 2**31, 2**31], "data": []}, "impossible shape"),
        ({"data": [1, 2, 3, "four"]}, "Expected `float`, got `str`"),
        ({"data": [1, 2, 3, None]}, "is not FP32, flat or nested as its shape [1, 4]"),
        ({"data": [True] * 4}, "Expected `float`, got `bool`"),
        ({"data": [[1, 2], [3]]}, "The rows in the data of 'state' are not of one length"),
        ({"data": {"a": 1}}, "Expected `array`, got `object`"),
        ({"data": 7}, "Expected `array`, got `int`"),
        ({"data": [1, 2, 3, 1e39]}, "beyond FP32"),
        ({"datatype": "INT64", "data": [1, 2, 3, 2**70]}, "beyond INT64"),
        ({"datatype": "INT8", "data": [1, 2, 3, 300]}, "beyond INT8"),
        ({"datatype": "UINT64", "data": [1, 2, 3, -1]}, "beyond UINT64"),
        ({"datatype": "INT64", "data": [1, 2, 3, 4.5]}, "Expected `int`, got `float`"),
        ({"datatype": "BOOL", "data": [1, 0, 1, 0]}, "Expected `bool`, got `int`"),
        ({"parameters": {"binary_data_size": 16}}, "both data and a binary_data_size"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_in_words(program, changes, words):
    status, told = program.infer([{**STATE, **changes}])

    assert status == 400
    assert words in told["error"]
    assert program.infer([STATE])[0] == 200, "on the same connection"


def test_what_is_wrong_with_the_request_itself(program):
    path = "/v2/models/tiny/infer"
    deep = b"[" * 50_000
    for body, words in (
        (b"", "not valid"),
        (b"{", "not valid"),
        (b"\xff\xfe", "not valid"),
        (b"[]", "not valid"),
        (b'{"inputs": 5}', "not valid"),
        (deep, "not valid"),
        (b'{"inputs": ' + deep, "not valid"),
        (b'{"inputs": ' + deep + b"]" * 50_000 + b"}", "not valid"),
        (json.dumps({"inputs": [STATE, STATE]}).encode(), "comes twice"),
        (json.dumps({"inputs": []}).encode(), "'state' is missing"),
        (json.dumps({"inputs": [{**STATE, "data": 1}] * 65}).encode(), "not valid"),
        (
            json.dumps({"inputs": [STATE], "outputs": [{"name": "moves"}]}).encode(),
            "no output 'moves'; it gives actions",
        ),
    ):
        status, told = program.ask("POST", path, body)
        assert (status, words in told["error"]) == (400, True), told
    nested = b'{"inputs": [{"name": "state", "datatype": "FP32", "shape": [1, 4], "data": ' + deep[:900] + b"1"
    status, told = program.ask("POST", path, nested + b"]" * 900 + b"}]}")
    assert status == 400


def test_raw_tensors_need_not_be_aligned(program):
    for name in ("tiny", "tiny "):  # a head of another length moves them by a byte
        body, headers = raw(FLOATS, name="state")
        pad = b" " * (len(name) - 4)
        headers = {"Inference_Header_Content_Length": str(int(headers["Inference_Header_Content_Length"]) + len(pad))}
        status, told = program.ask("POST", "/v2/models/tiny/infer", pad + body, **headers)
        assert (status, told["outputs"][0]["data"]) == (200, TWENTY)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (raw(FLOATS, 15), "takes 16 bytes; its binary_data_size is 15"),
        (raw(FLOATS, -16), "its binary_data_size is -16"),
        (raw(FLOATS, True), "its binary_data_size is True"),
        (raw(FLOATS, "16"), "its binary_data_size is 16"),
        (raw(FLOATS[:-1], 16), "The body ends within the input 'state'"),
        (raw(FLOATS + b"!", 16), "1 bytes follow the last tensor"),
        (raw(FLOATS, shape=[2**31, 2**31]), "takes 18446744073709551616 bytes"),
        (raw(np.array([1, 2, 3, np.nan], "<f4").tobytes()), "'state' holds NaN"),
        ((raw(FLOATS)[0], {"Inference_Header_Content_Length": "99999"}), "no number of bytes within the body"),
        ((raw(FLOATS)[0], {"Inference_Header_Content_Length": "-1"}), "no number of bytes within the body"),
        ((raw(FLOATS)[0], {"Inference_Header_Content_Length": "10"}), "not valid"),
    ],
)
def test_raw_tensors_that_lie_are_refused(program, given, words):
    body, headers = given
    status, told = program.ask("POST", "/v2/models/tiny/infer", body, **headers)

    assert (status, words in told["error"]) == (400, True), told


def test_a_model_that_answers_nan_is_an_error(load):
    engine = InferenceEngine()
    engine.swap(load(poison=True))
    with serving(engine) as api:
        program = Program(api.port)
        status, told = program.infer([{**STATE, "data": [0, 1, 2, 3]}])
        program.close()

    assert (status, told["error"]) == (500, "The model answered with NaN or infinity in 'actions'.")


def test_without_a_model_it_says_so():
    with serving(InferenceEngine()) as api:
        program = Program(api.port)
        assert program.ask("GET", "/v2/health/live")[0] == 200
        assert program.ask("GET", "/v2/health/ready")[0] == 400
        assert program.ask("GET", "/healthz") == (
            200,
            {"live": True, "ready": False, "model": None, "restraints": []},
        )
        status, headers, _ = program.raw("POST", "/v2/models/tiny/infer", {"inputs": [STATE]})
        assert (status, headers["Retry-After"]) == (503, "1")
        status, told = program.ask("POST", "/act", {"state": [1, 2, 3, 4]})
        assert (status, told) == (503, {"error": "There is no model on this device yet; roll one out to it."})
        assert program.ask("GET", "/metrics")[0] == 200
        program.close()


def test_a_swap_under_load_drops_no_request_and_names_the_model_that_answered(engine, load):
    models = [load(1.0, "1"), load(2.0, "2", with_card=False), load(3.0, "3")]
    engine.swap(models[0])
    answers, done = [], threading.Event()
    with serving(engine) as api:

        def ask() -> None:
            program = Program(api.port)
            while not done.is_set():
                answers.append(program.infer([{**STATE, "data": [1, 0, 0, 0]}]))
            program.close()

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for each in threads:
            each.start()
        for turn in range(60):
            engine.swap(models[turn % 3])
            before = len(answers)
            wait_for("an answer", lambda: len(answers) > before)  # noqa: B023 -- called at once
        done.set()
        for each in threads:
            each.join()

    assert {status for status, _ in answers} == {200}
    assert all(set(told["outputs"][0]["data"]) == {float(told["model_version"])} for _, told in answers)
    assert {told["model_version"] for _, told in answers} == {"1", "2", "3"}
