"""A broker, the server's end of the link, and agents in processes of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agent.broker import TestBroker
from tests.agent.support import AgentProcess, Server


@pytest.fixture
def broker() -> Iterator[TestBroker]:
    made = TestBroker().start()
    yield made
    made.stop()


@pytest.fixture
def server(broker: TestBroker) -> Iterator[Server]:
    made = Server(broker.port).start()
    yield made
    made.stop()


@pytest.fixture
def agent(broker: TestBroker, tmp_path: Path) -> Iterator[Callable[..., AgentProcess]]:
    """`agent()` starts one; settings are its environment variables without their prefix."""
    started: list[AgentProcess] = []

    def start(**settings: str) -> AgentProcess:
        made = AgentProcess(tmp_path / "data", broker.port, **settings).start()
        started.append(made)
        return made

    yield start
    for each in started:
        each.kill()


@pytest.fixture
def server_comes_first(monkeypatch) -> None:
    """After a broker was away. It keeps no session for the test's server: what a device says before is lost."""
    monkeypatch.setattr("agent.link.connection.delay", lambda *_: 3.0)
