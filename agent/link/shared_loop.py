"""One thread that drives the connections of many agents: a thousand of them would spend their time on taking turns."""

import heapq
import itertools
import logging
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho

from agent.link.connection import Connection

log = logging.getLogger(__name__)

#: Seconds between two looks at keepalives.
SWEEP_SECONDS = 1.0


class SharedLoop:
    """`drive` makes the driver of a connection (`agent.link.driving`). A handler that takes its time holds up all."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._waking, self._wake = os.pipe()
        os.set_blocking(self._waking, False)
        os.set_blocking(self._wake, False)
        self._selector.register(self._waking, selectors.EVENT_READ, None)
        #: What other threads have for this one.
        self._asked: deque[_Member] = deque()
        #: Who is to connect, and when.
        self._due: list[tuple[float, int, _Member]] = []
        self._count = itertools.count()
        self._up: dict[int, _Member] = {}
        self._stopping = False
        self.thread = threading.Thread(target=self._run, name="links", daemon=True)

    def drive(self, connection: Connection) -> "_Member":
        return _Member(self, connection)

    def start(self) -> None:
        self.thread.start()

    def stop(self, seconds: float = 1.0) -> None:
        """The connections have left before."""
        self._stopping = True
        self.wake_up()
        self.thread.join(seconds)
        self._selector.close()
        for end in (self._waking, self._wake):
            os.close(end)

    def ask(self, member: "_Member") -> None:
        """It has something to do: to connect at first, to write, or to leave."""
        self._asked.append(member)
        self.wake_up()

    def wake_up(self) -> None:
        try:
            os.write(self._wake, b"0")
        except BlockingIOError:  # it is being woken up already
            return

    def _run(self) -> None:
        swept = time.monotonic()
        while not self._stopping:
            now = time.monotonic()
            until = min(swept + SWEEP_SECONDS, self._due[0][0] if self._due else now + SWEEP_SECONDS)
            for key, events in self._selector.select(max(0.0, until - now)):
                if key.data is None:
                    os.read(self._waking, 65536)
                else:
                    _guarded(key.data.go_on, events)
            while self._asked:
                _guarded(self._asked.popleft().asked)
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                _guarded(heapq.heappop(self._due)[2].connect)
            if now - swept >= SWEEP_SECONDS:
                swept = now
                for member in list(self._up.values()):
                    _guarded(member.go_on, selectors.EVENT_WRITE, True)

    # --- Called by the members, in this thread ---

    def later(self, member: "_Member", seconds: float) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._count), member))

    def watch(self, member: "_Member", descriptor: int) -> None:
        self._up[descriptor] = member
        self._selector.register(descriptor, selectors.EVENT_READ, member)

    def watch_writing(self, member: "_Member", descriptor: int, writing: bool) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writing else 0)
        self._selector.modify(descriptor, events, member)

    def forget(self, descriptor: int) -> None:
        del self._up[descriptor]
        self._selector.unregister(descriptor)


class _Member:
    """The driver of one connection."""

    def __init__(self, loop: SharedLoop, connection: Connection) -> None:
        self._loop = loop
        self._connection = connection
        self._begun = False
        self._descriptor = -1
        self._writing = False
        self._gone = threading.Event()
        self.thread = loop.thread

    def start(self) -> None:
        self._connection.client.on_socket_close = self._closed
        self._loop.ask(self)

    def leave(self, seconds: float) -> None:
        self._loop.ask(self)
        if self._loop.thread.is_alive():
            self._gone.wait(seconds)

    def to_write(self) -> None:
        self._loop.ask(self)

    # --- The loop's thread ---

    def asked(self) -> None:
        if self._descriptor >= 0:
            self.go_on(selectors.EVENT_WRITE)
        elif self._connection.stopping:
            self._gone.set()
        elif not self._begun:
            self.connect()

    def connect(self) -> None:
        self._begun = True
        if self._connection.stopping or self._descriptor >= 0:
            return
        try:
            going = self._connection.connect()
        except (OSError, ValueError) as problem:
            self._loop.later(self, self._connection.lost(problem))
            return
        socket = self._connection.client.socket()
        if not going or socket is None:
            self._loop.later(self, self._connection.lost())
            return
        self._descriptor, self._writing = socket.fileno(), False
        self._loop.watch(self, self._descriptor)
        self.go_on(selectors.EVENT_WRITE)

    def go_on(self, events: int, keepalive: bool = False) -> None:
        """Read and write what there is."""
        client = self._connection.client
        going = paho.MQTT_ERR_SUCCESS
        if events & selectors.EVENT_READ:
            going = client.loop_read()
            while going == paho.MQTT_ERR_SUCCESS and _pending(client.socket()):
                going = client.loop_read()
        if going == paho.MQTT_ERR_SUCCESS and client.want_write():
            going = client.loop_write()
        if going == paho.MQTT_ERR_SUCCESS and keepalive:
            going = client.loop_misc()
        if self._descriptor < 0 or going != paho.MQTT_ERR_SUCCESS:
            self._lost()
        elif client.want_write() != self._writing:
            self._writing = not self._writing
            self._loop.watch_writing(self, self._descriptor, self._writing)

    def _lost(self) -> None:
        self._closed()
        pause = self._connection.lost()
        if self._connection.stopping:
            self._gone.set()
        else:
            self._loop.later(self, pause)

    def _closed(self, *_: Any) -> None:
        """paho is about to close the socket; its number may be another one's at once."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            self._loop.forget(descriptor)


def _guarded(turn: Callable[..., None], *arguments: Any) -> None:
    """One agent's trouble must not end the others' link."""
    try:
        turn(*arguments)
    except Exception:
        log.exception("a connection's turn broke")


def _pending(socket: Any) -> int:
    """Bytes that TLS has read and nobody has taken: the selector does not see them."""
    return int(socket.pending()) if socket is not None and hasattr(socket, "pending") else 0
