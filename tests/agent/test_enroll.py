"""`edge-agent enroll`: one question, one answer, and a status for scripts."""

import json

import pytest

from agent import enroll
from agent.addresses import Server
from agent.config import Settings
from agent.wire.messages import EnrollReply
from tests.agent.support import TOKEN, AgentProcess
from tests.agent.test_main import run
from tests.agent.waiting import wait_for


@pytest.fixture
def ask(broker, tmp_path):
    """`ask(*words)` runs the command for the device in this folder."""
    here = ("--data", str(tmp_path / "data"), "--server", f"mqtt://127.0.0.1:{broker.port}", "--name", "arm-1")
    return lambda *words, token=TOKEN: run("enroll", *here, *(("--token", token) if token else ()), *words)


def test_a_device_that_is_let_in_is_told_its_id(server, ask, tmp_path):
    done = ask()
    assert (done.returncode, done.stdout, done.stderr) == (0, "device d-1 is accepted\n", "")
    assert json.loads((tmp_path / "data/identity.json").read_text())["device_id"] == "d-1"
    assert (tmp_path / "data/root.json").exists()

    again = ask("--json", token="")  # it needs no token any more, and asks nobody
    assert json.loads(again.stdout) == {"status": "accepted", "device_id": "d-1", "reason": ""}
    assert len(server.enrollments) == 1


def test_one_that_has_to_wait_is_told_so_and_asks_on_with_the_same_identity(server, ask, broker, tmp_path):
    reason = "an operator has to accept this device"
    server.answer_enrollment = lambda _: EnrollReply(status="pending", device_id="d-9", reason=reason)
    done = ask()
    assert done.returncode == 3
    assert done.stdout == "device d-9 waits to be accepted, on the server's page Enrollment\n"

    server.answer_enrollment = lambda _: EnrollReply(
        status="accepted", device_id="d-9", root=server.signer.root.decode()
    )
    there = AgentProcess(tmp_path / "data", broker.port).start()
    wait_for("the device", lambda: server.states)
    there.kill()
    assert len({nonce for nonce, _ in server.enrollments}) == 1


def test_one_that_is_told_to_wait_waits(server, ask):
    asked = []

    def answer(_):
        asked.append(1)
        if len(asked) == 1:
            return EnrollReply(status="pending", device_id="d-9")
        return EnrollReply(status="accepted", device_id="d-9", root=server.signer.root.decode())

    server.answer_enrollment = answer
    done = ask("--wait")
    assert (done.returncode, done.stdout) == (0, "device d-9 is accepted\n")
    assert len(asked) == 2


def test_one_that_is_turned_away_hears_why(server, ask):
    server.answer_enrollment = lambda _: EnrollReply(status="rejected", reason="the token was revoked")
    done = ask()
    assert (done.returncode, done.stdout) == (1, "the device is rejected: the token was revoked\n")


def test_without_an_answer_it_says_where_to_look(broker, tmp_path, monkeypatch):
    monkeypatch.setattr(enroll, "PATIENCE", 1.0)
    told = enroll.ask(
        Settings(tmp_path / "data", Server("127.0.0.1", broker.port), token=TOKEN, name="arm-1"), wait=False
    )
    assert told.status == "none"
    assert "`edge-agent doctor` looks" in told.words()


def test_without_a_token_it_says_how_to_get_one(ask):
    done = ask(token="")
    assert done.returncode == 1
    assert "has no enrollment token" in done.stderr


def test_beside_a_running_agent_it_does_not_ask_twice(server, ask, agent, tmp_path):
    agent()
    wait_for("the device", lambda: server.states)
    assert ask().stdout == "device d-1 is accepted\n"
    assert len(server.enrollments) == 1
