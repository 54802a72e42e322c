"""The local API as the robot's programs meet it."""

import base64
import json
import logging
import os
import random
import re
import shlex
import shutil
import socket
import stat
import subprocess
import threading
import tomllib

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from agent.config import Listen
from agent.inference import inference_engine, local_api
from agent.inference.http_server import Limits
from agent.inference.inference_engine import InferenceEngine
from tests.agent.inference.apis import Program, serving, spoken
from tests.agent.inference.folders import folder_of
from tests.agent.inference.pictures import seeing_variant
from tests.agent.support import ROOT
from tests.agent.variants import variant
from tests.agent.waiting import wait_for

STATE = {"name": "state", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
TWENTY = [20.0] * 6


@pytest.fixture
def load(tmp_path):
    count = iter(range(1000))

    def made(weight=2.0, version="1", **how):
        folder = folder_of(variant(weight, **how), tmp_path / str(next(count)))
        return inference_engine.load(folder, artifact="ab" * 32, name="tiny", version=version)

    return made


@pytest.fixture
def engine(load):
    made = InferenceEngine()
    made.swap(load())
    return made


@pytest.fixture
def program(engine):
    """`ask` at a running API, over one connection."""
    with serving(engine) as api:
        made = Program(api.port)
        yield made
        made.close()


# --- The Open Inference Protocol ---


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


def raw(values: bytes, size: object = None, **changes: object) -> tuple[bytes, dict[str, str]]:
    """A request with one raw tensor."""
    tensor = {**STATE, "parameters": {"binary_data_size": len(values) if size is None else size}, **changes}
    del tensor["data"]
    head = json.dumps({"inputs": [tensor]}).encode()
    return head + values, {"Inference_Header_Content_Length": str(len(head))}


FLOATS = np.array([1, 2, 3, 4], "<f4").tobytes()


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
        assert program.ask("GET", "/healthz") == (200, {"live": True, "ready": False, "model": None})
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


# --- /act ---


@pytest.fixture
def seeing(load):
    """An engine whose model looks at an image, and answers with the mean of its red, green and blue."""
    made = InferenceEngine()
    made.swap(load(**seeing_variant()))
    return made


def picture(height: int, width: int, red: int) -> np.ndarray:
    made = np.zeros((height, width, 3), np.uint8)
    made[..., 0] = red
    return made


def encoded(image: np.ndarray) -> dict:
    return {"height": image.shape[0], "width": image.shape[1], "data": base64.b64encode(image.tobytes()).decode()}


@pytest.mark.parametrize("form", [encoded, np.ndarray.tolist])
def test_an_image_and_words_become_actions(seeing, form):
    with serving(seeing) as api:
        program = Program(api.port)
        status, told = program.ask("POST", "/act", {"image": form(picture(6, 8, 51)), "instruction": "look"})
        program.close()

    assert status == 200, told
    assert told["actions"][0] == pytest.approx([0.2, 0.0, 0.0], abs=1e-6)
    assert (told["execute"], told["model_name"], told["model_version"]) == (1, "tiny", "1")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": {"height": 100_000, "width": 100_000, "data": ""}}, "4096"),
        ({"image": {"height": 4000, "width": 4000, "data": "AAAA"}}, "has 48000000 bytes of RGB, this one has 3"),
        ({"image": {"height": 1, "width": 1, "data": "not base64!"}}, "base64"),
        ({"image": []}, "The rows of an image"),
        ({"image": [[]]}, "The rows of an image"),
        ({"image": [[[1, 2, 3]], []]}, "The rows of an image"),
        ({"image": [[[1, 2, 300]]]}, "not valid"),
        ({"image": [[[1, 2]]]}, "not valid"),
        ({"image": None}, "The model needs an image; the request has none."),
        ({"instruction": None}, "The model needs an instruction"),
        ({"instruction": "look at the saucer"}, "has 4 words, the model takes 2"),
        ({"instruction": "saucer"}, "The model does not know the word 'saucer'."),
        ({"instruction": 7}, "not valid"),
        ({"picture": 1}, "unknown field `picture`"),
    ],
)
def test_an_observation_that_does_not_fit_is_refused_in_words(seeing, changes, words):
    with serving(seeing) as api:
        program = Program(api.port)
        given = {"image": encoded(picture(2, 2, 9)), "instruction": "look", **changes}
        status, told = program.ask("POST", "/act", given)
        assert (status, words in told["error"]) == (400, True), told
        assert program.ask("POST", "/act", b"[" * 20_000)[0] == 400
        program.close()


def test_a_state_alone_is_enough_for_a_model_that_takes_no_more(program):
    status, told = program.ask("POST", "/act", {"state": [1, 2, 3, 4]})
    assert (status, told["actions"]) == (200, [[20.0] * 3] * 2)
    assert program.ask("POST", "/act", {"state": [1, 2]})[1]["error"].startswith("The state has shape [2]")
    assert "needs a state" in program.ask("POST", "/act", {})[1]["error"]


def test_a_model_without_a_card_cannot_act_and_says_what_to_do(engine, load):
    engine.swap(load(with_card=False))
    with serving(engine) as api:
        program = Program(api.port)
        status, told = program.ask("POST", "/act", {"state": [1, 2, 3, 4]})
        assert status == 409
        assert told["error"] == "The model has no policy card. Send it tensors, at /v2/models/tiny/infer."
        assert program.infer([STATE])[1]["outputs"][0]["data"] == TWENTY
        program.close()


def test_the_examples_of_its_page_do_what_they_say(load, tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs/local-api.md").read_text()
    blocks = re.findall(r"```(\w*)\n(.*?)```", page, re.DOTALL)
    examples = [code for language, code in blocks if language == "python"]
    (command,) = [code for language, code in blocks if not language]
    sees = seeing_variant(96, 4, "look grasp the red square")
    folder_of(variant(**sees), tmp_path / "artifact")
    monkeypatch.chdir(tmp_path)
    engine = InferenceEngine()
    engine.swap(inference_engine.load(tmp_path / "artifact", name="arm"))
    with serving(engine) as api:
        for code in examples:
            exec(code.replace("8008", str(api.port)), {})  # noqa: S102 -- the page's own
        assert len(capsys.readouterr().out.splitlines()) == 1 + 3 + 4
        words = shlex.split(command.replace("8008", str(api.port)))
        if shutil.which(words[0]):
            done = subprocess.run([*words, "--noproxy", "*"], capture_output=True, check=True)
            assert json.loads(done.stdout)["actions"][0] == pytest.approx([0.5, 0.5, 0], abs=0.01)
        told = tomllib.loads(next(code for language, code in blocks if language == "toml"))
        assert set(told) == {"api", "api_token"}


# --- Around it ---


def test_metrics_are_what_prometheus_reads(program):
    for _ in range(3):
        program.infer([STATE])
    program.infer([{**STATE, "name": "eyes"}])
    status, headers, data = program.raw("GET", "/metrics")
    lines = data.decode().splitlines()

    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "edge_agent_decisions_total 3" in lines
    assert "edge_agent_errors_total 1" in lines
    assert 'edge_agent_api_replies_total{status="200"} 3' in lines
    assert 'edge_agent_api_replies_total{status="400"} 1' in lines
    assert f'edge_agent_model_info{{name="tiny",version="1",artifact="{"ab" * 32}"}} 1' in lines
    seconds = [float(line.split()[1]) for line in lines if line.startswith("edge_agent_decision_seconds{")]
    assert len(seconds) == 3 and all(0 < each < 1 for each in seconds)


def test_programs_say_whether_this_is_a_good_moment(engine):
    said = []
    with serving(engine, on_idle=said.append) as api:
        program = Program(api.port)
        assert program.ask("POST", "/idle", {"idle": False}) == (200, {"idle": False})
        assert program.ask("POST", "/idle", {"idle": True}) == (200, {"idle": True})
        for wrong in ({}, {"idle": 1}, {"idle": True, "for": 5}, []):
            status, told = program.ask("POST", "/idle", wrong)
            assert (status, 'Send {"idle": true}' in told["error"]) == (400, True)
        program.close()

    assert said == [False, True]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v3", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/v2/models/tiny/config", 404),
        ("GET", "/v2/models/tiny/versions/9", 404),
        ("GET", "/v2/models/%2e%2e%2f", 404),
        ("GET", "/act", 405),
        ("POST", "/metrics", 405),
        ("GET", "/v2/models/tiny/infer", 405),
        ("DELETE", "/v2", 405),
        ("GET", "/v2/?verbose=1", 200),
        ("GET", "/v2/models/tiny/versions/1/", 200),
    ],
)
def test_other_paths_and_methods(program, method, path, status):
    found, told = program.ask(method, path, {} if method == "POST" else None)

    assert found == status
    assert status == 200 or told["error"].endswith(".")


def test_a_token_has_to_come_with_every_request(engine):
    token = "t0ken-of-the-robots-programs"
    with serving(engine, token=token) as api:
        for given in (None, "Bearer wrong", f"Basic {token}", token, f"Bearer {token} ", "Bearer t\xf6ken"):
            program = Program(api.port)
            headers = {} if given is None else {"Authorization": given}
            status, told = program.ask("GET", "/healthz", **headers)
            assert (status, "wants its token" in str(told)) == (
                (200, False) if given == f"Bearer {token} " else (401, True)
            )
            program.close()
        client = triton.InferenceServerClient(f"127.0.0.1:{api.port}")
        assert client.is_model_ready("tiny", headers={"Authorization": f"Bearer {token}"})
        client.close()


def test_pages_in_a_browser_are_none_of_the_robots_programs(engine):
    with serving(engine) as api:
        for headers in (
            {"Origin": "http://127.0.0.1"},
            {"Host": "evil.example"},
            {"Host": "127.0.0.1.evil.example:80"},
        ):
            program = Program(api.port)
            assert program.ask("POST", "/idle", {"idle": False}, **headers)[0] == 403
            program.close()
        for host in ("localhost", f"localhost:{api.port}", "[::1]:1", "127.0.0.2"):
            program = Program(api.port)
            assert program.ask("GET", "/healthz", Host=host)[0] == 200
            program.close()


def test_a_unix_socket_is_for_owner_and_group_and_leaves_nothing_behind(engine, tmp_path):
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))  # as an agent that was killed leaves it
    with serving(engine, Listen(path=path)) as api:
        with socket.socket(socket.AF_UNIX) as client:
            wait_for("the new socket", lambda: api._server)
            client.connect(str(path))
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: robot\r\nConnection: close\r\n\r\n")
            heard = b""
            while data := client.recv(4096):
                heard += data
        assert heard.startswith(b"HTTP/1.1 200 OK\r\n")
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660

    assert not path.exists()


def test_a_port_that_is_taken_is_said_once_and_tried_again(engine, caplog, monkeypatch):
    monkeypatch.setattr(local_api, "RETRY_SECONDS", 0.05)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        api = local_api.LocalApi(engine, Listen("127.0.0.1", other.getsockname()[1]))
        api.start()
        wait_for("the sentence", lambda: "cannot listen on 127.0.0.1" in caplog.text)
        assert api.port == 0
    wait_for("the port", lambda: api.port)
    api.stop()

    assert caplog.text.count("cannot listen on") == 1


def test_what_breaks_inside_is_logged_without_a_word_of_the_observation(engine, caplog, monkeypatch):
    def breaks(*_: object, **__: object) -> None:
        raise KeyError("grasp the red square")

    monkeypatch.setattr(engine, "infer", breaks)
    with serving(engine) as api, caplog.at_level(logging.DEBUG):
        program = Program(api.port)
        status, told = program.infer([STATE])
        assert status == 500
        assert program.ask("GET", "/healthz")[0] == 200, "and the connection lives"
        program.close()

    assert "the local API broke: KeyError at" in caplog.text
    assert "red square" not in caplog.text + json.dumps(told)


def test_json_beyond_its_limit_is_refused(engine, monkeypatch):
    monkeypatch.setattr(local_api, "MAX_JSON", 2000)
    monkeypatch.setattr(local_api, "MAX_ACT", 2000)
    with serving(engine) as api:
        program = Program(api.port)
        for path in ("/act", "/v2/models/tiny/infer"):
            status, told = program.ask("POST", path, b" " * 2001)
            assert (status, "2001 bytes of JSON, the limit is 2000" in told["error"]) == (413, True)
        program.close()


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(engine):
    limits = Limits(body=10_000)
    with serving(engine, limits=limits) as api:
        program = Program(api.port)
        status, told = program.ask("POST", "/act", b" " * 10_001)
        assert (status, told["error"]) == (413, "The body has 10001 bytes, the limit is 10000.")
        program.close()


def test_noise_never_breaks_it_and_is_never_logged(engine, caplog):
    """A thousand requests that are nearly right: each is answered or refused in words, and the next one works."""
    noise = random.Random(7)  # noqa: S311 -- noise, the same each time
    good = json.dumps({"inputs": [STATE]}).encode()
    body, headers = raw(FLOATS)
    length = headers["Inference_Header_Content_Length"]
    with serving(engine) as api, caplog.at_level(logging.DEBUG):
        program = Program(api.port)
        for number in range(1000):
            spoiled = bytearray(body if number % 2 else good)
            for _ in range(noise.randint(1, 4)):
                at = noise.randrange(len(spoiled))
                kind = noise.randrange(3)
                if kind == 0:
                    spoiled[at] = noise.randrange(256)
                elif kind == 1:
                    del spoiled[at : at + noise.randint(1, 9)]
                else:
                    spoiled[at:at] = noise.choice([b"[", b"{", b'"', b"-", b"9" * 30, b"\0", b"null", b"1e400"])
            given = {"Inference_Header_Content_Length": length} if number % 2 else {}
            status, told = program.ask("POST", "/v2/models/tiny/infer", bytes(spoiled), **given)
            assert status in (200, 400, 500), (status, told)
            assert status != 500 or "NaN or infinity" in told["error"], told
        assert program.infer([STATE])[0] == 200
        for _ in range(100):
            heard = spoken(api.port, noise.randbytes(noise.randint(1, 300)) + b"\r\n\r\n", end=True)
            assert not heard or heard.startswith(b"HTTP/1.1 400 ")
        program.close()
    assert "broke" not in caplog.text
