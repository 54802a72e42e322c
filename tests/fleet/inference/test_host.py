"""A model's process: within its limits, and never in the way of the next request."""

import contextlib
import time
from concurrent.futures import Future
from pathlib import Path

import psutil
import pytest

from fleet.inference import host
from fleet.inference.host import Host, Reply
from fleet.inference.refusal import Refusal
from fleet.inference.serving import Served
from tests.agent.inference.folders import folder_of
from tests.agent.variants import variant
from tests.agent.waiting import wait_for

BODY = b'{"state": [1, 2, 3, 4]}'
SERVED = Served("ab" * 32, "tiny", "1", "fp16", "edge_server")
ROOM = 2 * 1024**3


@pytest.fixture
def hosts(tmp_path):
    made: list[Host] = []

    def started(memory: int = ROOM, **how) -> Host:
        folder = folder_of(variant(**how), tmp_path / str(len(made)))
        made.append(Host(SERVED, lambda: folder, memory))
        return made[-1]

    yield started
    for each in made:
        each.stop()


def ask(there: Host, seconds: float = 30.0, body: bytes = BODY) -> Future[Reply]:
    return there.ask("act", body, None, time.monotonic() + seconds)


def why(answer: Future[Reply]) -> Refusal:
    problem = answer.exception(30)
    assert isinstance(problem, Refusal)
    return problem


def processes() -> list[psutil.Process]:
    found = []
    for each in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it ends at this moment
            if "fleet.inference.child" in each.cmdline():
                found.append(each)
    return found


def test_it_starts_with_the_first_request_and_ends_when_it_is_told(hosts):
    there = hosts(weight=2.0)
    assert not there.loaded
    assert ask(there).result(30).status == 200
    assert len(processes()) == 1
    there.stop()
    wait_for("its end", lambda: processes() == [])
    assert there.over


def test_it_ends_by_itself_when_nobody_asks(hosts, monkeypatch):
    monkeypatch.setattr(host, "IDLE_SECONDS", 0.3)
    there = hosts()
    assert ask(there).result(30).status == 200
    wait_for("its end", lambda: there.over and processes() == [])


def test_an_answer_that_does_not_come_is_not_waited_for_for_ever(hosts, monkeypatch):
    monkeypatch.setattr(host, "STUCK_SECONDS", 0.0)
    there = hosts(loops=200)
    there.warm(time.monotonic() + 60).result(60)
    assert "took too long" in why(ask(there, 0.05)).sentence
    assert processes() == []


def test_it_has_no_more_memory_than_it_is_given(hosts):
    problem = why(ask(hosts(memory=24 * 1024**2)))
    assert (problem.status, problem.reason) == (503, "model")
    assert "does not load" in problem.sentence


def test_it_has_no_secret_and_no_network(hosts, monkeypatch):
    monkeypatch.setenv("EDGEFLEET_SECRET_KEY", "not for a model")
    there = hosts()
    assert ask(there).result(30).status == 200
    (process,) = processes()
    assert "EDGEFLEET_SECRET_KEY" not in process.environ()
    assert "DATABASE_URL" not in process.environ()
    mine, its = Path("/proc/self/ns/net").readlink(), Path(f"/proc/{process.pid}/ns/net").readlink()
    if mine == its:
        pytest.skip("this system allows no network namespace")


def test_what_waits_past_its_deadline_is_not_given_to_the_model(hosts):
    there = hosts(loops=40)
    first, second = ask(there), ask(there, 0.0)
    assert why(second).reason == "late"
    assert first.result(60).status == 200


def test_a_line_that_is_too_long_is_refused_at_once(hosts):
    there = hosts(loops=40)
    with pytest.raises(Refusal, match="wait for"):
        for _ in range(host.LINE + 2):
            ask(there)
