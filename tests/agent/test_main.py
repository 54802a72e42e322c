"""The command line."""

import json
import os
import socket
import subprocess
import sys

import pytest

from agent.cli import main
from agent.wire.messages import EnrollReply
from tests.agent.support import ROOT, TOKEN
from tests.agent.variants import variant
from tests.agent.waiting import wait_for


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "No server is set."),
        (["run", "--server", "mqtt://127.0.0.1:1"], "has no enrollment token"),
        (["run", "--server", "mqtt://127.0.0.1:1", "--source", "no.such:thing"], "There is no module for the source"),
        (["run", "--config", "/no/such.toml"], "cannot be read"),
        (["status", "--data", "/no/such/folder"], "There is no data folder /no/such/folder"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_no_traceback(arguments, words, tmp_path):
    if arguments[0] == "run" and len(arguments) > 1:
        arguments = [*arguments, "--data", str(tmp_path)]
    result = run(*arguments)

    assert result.returncode == 1
    assert result.stderr.startswith("edge-agent: ") and result.stderr.count("\n") == 1
    assert words in result.stderr


def test_help_names_every_setting_with_its_variable():
    text = run("run", "--help").stdout

    for word in ("--server", "EDGE_AGENT_SERVER", "--declared-memory-gib", "EDGE_AGENT_DECLARED_MEMORY_GIB", "--nice"):
        assert word in text


def test_told_to_stop_it_says_goodbye_and_leaves_with_0(server, agent):
    made = variant()
    there = agent(source="tests.agent.worlds:steady")
    server.offer(made)
    server.wish(made.digest, "p-1")
    server.ended("p-1", "active")
    status, seconds = there.terminate()

    assert (status, seconds < 3) == (0, True)
    wait_for("its goodbye", lambda: not server.states[-1].online)
    # Said, and not the broker's last will: that one has the highest number of its connection.
    assert server.states[-1].seq % 1_000_000 != 999_999


def test_told_to_stop_while_it_waits_to_be_enrolled(server, agent):
    server.answer_enrollment = lambda _: EnrollReply(status="pending")
    there = agent()
    wait_for("a question", lambda: server.enrollments)
    status, seconds = there.terminate()

    assert (status, seconds < 3) == (0, True)


def test_told_to_stop_in_the_middle_of_a_self_test(server, agent):
    made = variant(loops=8, deadline_ms=10_000)
    there = agent()
    server.offer(made)
    server.wish(made.digest, "p-1")
    wait_for("the self-test", lambda: "self_testing" in server.path("p-1"))
    status, seconds = there.terminate()

    assert (status, seconds < 3) == (0, True)


def test_two_agents_do_not_share_a_data_folder(server, agent, broker):
    there = agent()
    wait_for("the first", lambda: server.states)
    second = run(*("run", "--data", str(there.data), "--server", f"mqtt://127.0.0.1:{broker.port}", "--token", TOKEN))

    assert second.returncode == 1
    assert f"Another agent is running with the data folder {there.data}" in second.stderr


def test_status_tells_what_runs(server, agent, capsys, monkeypatch):
    for name in [name for name in os.environ if name.startswith("EDGE_AGENT_")]:
        monkeypatch.delenv(name)
    made = variant(version="7", variant="fp16")
    there = agent()
    server.offer(made)
    server.wish(made.digest, "p-1")
    server.ended("p-1", "active")

    assert main(["status", "--data", str(there.data), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["running"], told["enrolled"], told["device_id"]) == (True, True, "d-1")
    assert (told["active"]["manifest"], told["active"]["version"]) == (made.digest, "7")
    assert told["deployment"]["state"] == "active"

    there.terminate()
    assert main(["status", "--data", str(there.data)]) == 0
    words = capsys.readouterr().out
    assert "not running" in words
    assert "tiny@7 fp16" in words
    assert "p-1: active" in words


def asked(path, what: str, body: bytes = b"") -> bytes:
    """The reply of the local API on a unix socket, whole."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        client.sendall(f"{what} HTTP/1.1\r\n{length}Connection: close\r\n\r\n".encode() + body)
        heard = b""
        while data := client.recv(65536):
            heard += data
        return heard


def test_an_agent_without_a_local_api_does_not_load_it():
    code = "import sys, agent.main; print([m for m in sys.modules if m.endswith(('local_api', 'http_server'))])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_programs_reach_the_model_and_say_when_they_need_it(server, agent, tmp_path):
    path, made = tmp_path / "api.sock", variant(2.0, with_card=False)
    there = agent(api=f"unix:{path}")
    server.offer(made)
    server.wish(made.digest, "p-1")
    server.ended("p-1", "active")
    tensor = {"name": "state", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    heard = asked(path, "POST /v2/models/tiny/versions/1/infer", json.dumps({"inputs": [tensor]}).encode())
    assert heard.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(heard.partition(b"\r\n\r\n")[2])["outputs"][0]["data"] == [20.0] * 6
    counted = wait_for("the sample", lambda: [s for t in server.telemetry for s in t.samples if s.decisions])
    assert counted[-1].manifest == made.digest

    asked(path, "POST /idle", b'{"idle": false}')
    wait_for("its word of that", lambda: not server.states[-1].idle)
    asked(path, "POST /idle", b'{"idle": true}')
    wait_for("and of this", lambda: server.states[-1].idle)
    status, seconds = there.terminate()
    assert (status, seconds < 3, path.exists()) == (0, True, False)


def test_status_before_anything_happened(tmp_path, capsys):
    assert main(["status", "--data", str(tmp_path)]) == 0

    words = capsys.readouterr().out
    assert "not enrolled yet" in words
    assert "active       nothing" in words
    assert list(tmp_path.iterdir()) == []  # looking changes nothing


@pytest.mark.parametrize("api", ["", "a local API"])
def test_before_the_first_model_numpy_is_not_in_memory(server, agent, api, tmp_path):
    path = tmp_path / "api.sock"
    there = agent(source="tests.agent.worlds:steady", api=f"unix:{path}" if api else "")
    wait_for("the device", lambda: server.states)
    if api:
        wait_for("its API", path.exists)
        assert b'"ready":false' in asked(path, "GET /healthz")
    with open(f"/proc/{there.pid}/maps") as maps:
        loaded = maps.read()

    assert "numpy" not in loaded
    assert "onnxruntime" not in loaded
