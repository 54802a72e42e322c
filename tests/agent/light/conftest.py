"""Light devices in this process, that enroll by themselves."""

import threading
from collections.abc import Callable, Iterator

import pytest

from agent.addresses import Server
from agent.config import Settings
from agent.simulate import Simulation, specs
from agent.wire.messages import EnrollReply
from tests.agent.support import TOKEN
from tests.agent.waiting import wait_for


class Fleet:
    """Devices `light-0000`, `light-0001` and so on; their ids are d-1, d-2, …, in the order of their coming."""

    def __init__(self, settings: Settings, count: int) -> None:
        self._stop = threading.Event()
        self.made = Simulation(settings, specs("light", 0, count, {"embedded": 1}))
        self._thread = threading.Thread(target=self.made.run, args=(self._stop,))
        self._thread.start()

    def are_there(self, count: int) -> None:
        wait_for(f"{count} links", lambda: sum(each.connected for each in list(self.made.devices)) == count, 30)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def fleet(broker, server, tmp_path) -> Iterator[Callable[[int], Fleet]]:
    """`fleet(3)` starts so many; again after they were stopped, it is their next boot."""
    ids: dict[str, str] = {}

    def answer(request) -> EnrollReply:
        device = ids.setdefault(request.name, f"d-{len(ids) + 1}")
        return EnrollReply(status="accepted", device_id=device, root=server.signer.root.decode())

    server.answer_enrollment = answer
    started: list[Fleet] = []

    def start(count: int) -> Fleet:
        settings = Settings(data=tmp_path, server=Server("127.0.0.1", broker.port), token=TOKEN, tags=("kind=light",))
        made = Fleet(settings, count)
        started.append(made)
        made.are_there(count)
        return made

    yield start
    for each in started:
        each.stop()
