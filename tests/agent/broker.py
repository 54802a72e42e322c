"""A real MQTT broker for tests: amqtt in a process of its own, on a free port, taking anybody."""

import contextlib
import multiprocessing
import socket

from tests.agent.waiting import wait_for
from tests.ports import free_port

#: Children are forked off a clean process that has imported amqtt once: a broker starts in some hundredths of a second.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.agent.broker_process"])


class TestBroker:
    """`stop` kills it, with all it has retained; `start` brings an empty one to the same port."""

    __test__ = False

    def __init__(self) -> None:
        self.port = free_port()
        self._process: multiprocessing.process.BaseProcess | None = None

    def start(self) -> "TestBroker":
        from tests.agent.broker_process import serve

        self._process = _PROCESSES.Process(target=serve, args=(self.port,), daemon=True)
        self._process.start()
        wait_for("the broker to listen", self._listens)
        return self

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join()
            process.close()

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False
