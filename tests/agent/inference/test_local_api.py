"""The local API as the robot's programs meet it, whatever they ask for."""

import json
import logging
import os
import random
import socket
import stat

import pytest
import tritonclient.http as triton

from agent.addresses import Listen
from agent.inference import local_api
from agent.inference.http_server import Limits
from tests.agent.inference.apis import FLOATS, STATE, Program, raw, serving, spoken
from tests.agent.waiting import wait_for


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
