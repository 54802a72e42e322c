"""Who gives a connection its turns: connects it, reads and writes for it, and connects again when it was lost."""

import threading
from typing import TYPE_CHECKING, Protocol

import paho.mqtt.client as paho

if TYPE_CHECKING:
    from agent.link.connection import Connection


class Driver(Protocol):
    """What a connection knows of it. thread is the one that reads and writes."""

    thread: threading.Thread

    def start(self) -> None: ...

    def leave(self, seconds: float) -> None:
        """The connection has been told to stop: let its last packets go, for at most so long."""
        ...

    def to_write(self) -> None:
        """There is something to write. Called by any thread."""
        ...


class OwnThread:
    """A thread for one connection, as a device has it."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self.thread = threading.Thread(target=self._run, name="link", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def leave(self, seconds: float) -> None:
        if self.thread.is_alive():
            self.thread.join(seconds)

    def to_write(self) -> None:
        """paho itself wakes the thread up."""

    def _run(self) -> None:
        connection = self._connection
        while not connection.stopping:
            problem: Exception | None = None
            try:
                going = connection.connect()
                while going:
                    connection.pulse.beat()
                    going = connection.client.loop(1.0) == paho.MQTT_ERR_SUCCESS
            except (OSError, ValueError) as failure:
                problem = failure
            connection.wait_for_stop(connection.lost(problem))
