"""A device in this process: the agent's own wiring, already enrolled."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from agent.addresses import Server
from agent.clock import SYSTEM, Clock
from agent.config import Declared, Settings
from agent.device.device_adapter import DeclaredDevice, DeviceAdapter
from agent.link.enrollment import FILE, ROOT_FILE, Identity
from agent.main import Agent
from tests.agent import signing
from tests.agent.broker import TestBroker
from tests.agent.waiting import wait_for


class Device:
    """A running agent; `stop` ends it in good order. `board` makes its device; by default it declares a small one."""

    def __init__(
        self,
        data: Path,
        port: int,
        clock: Clock = SYSTEM,
        board: Callable[[Path], DeviceAdapter] | None = None,
        **settings: object,
    ) -> None:
        data.mkdir(parents=True, exist_ok=True)
        identity = Identity(nonce="n-1", secret="s" * 43, device_id="d-1")
        (data / FILE).write_bytes(msgspec.json.encode(identity))
        (data / ROOT_FILE).write_bytes(signing.ROOT)
        declared = Declared(cores=4, memory_gib=4, storage_gib=1)
        plain = {"threads": 1, "runtime": "onnxruntime"}  # nothing to choose from: nothing is measured
        fixed = {"data": data, "server": Server("127.0.0.1", port), "declared": declared}
        made = Settings(**{**fixed, **plain, **settings})
        self.data = data
        there = board(data) if board else DeclaredDevice(declared, data)
        self.agent = Agent(made, there, identity, clock=clock)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.agent.run, args=(self._stop,))
        self._thread.start()
        wait_for("the link", lambda: self.agent._connection.connected)

    @property
    def saved(self):
        return self.agent._machine.saved

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def device(broker: TestBroker, tmp_path: Path) -> Iterator[Callable[..., Device]]:
    """`device()` starts one; settings are those of agent.config.Settings."""
    started: list[Device] = []

    def start(**settings: object) -> Device:
        made = Device(tmp_path / "data", broker.port, **settings)
        started.append(made)
        return made

    yield start
    for each in started:
        each.stop()
