"""Threads that many agents share, or have only while there is something to do."""

import heapq
import logging
import threading
import time
from collections.abc import Callable

from agent.deployment.machine import UpdateMachine
from agent.link.telemetry import Telemetry
from agent.wire.messages import Desired

log = logging.getLogger(__name__)

#: Seconds at least between two steps of one device's telemetry: the broker needs a moment to acknowledge.
SHORTEST_SECONDS = 0.05


class Rota:
    """One thread that steps the telemetry of many devices, each at its own time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        #: Held while one of them has its turn.
        self._turn = threading.Lock()
        self._due: list[tuple[float, int]] = []
        #: The time that counts of each; an older one in the heap is passed over.
        self._times: dict[int, float] = {}
        self._members: dict[int, Telemetry] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, telemetry: Telemetry) -> Callable[[], None]:
        """From now on it has its turns; call what is returned to end them."""
        number = id(telemetry)
        with self._changed:
            self._members[number] = telemetry
        telemetry.on_wake = lambda: self._at(number, time.monotonic())
        telemetry.wake()
        return lambda: self._leave(number)

    def stop(self, seconds: float = 1.0) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(seconds)

    def _at(self, number: int, when: float) -> None:
        with self._changed:
            if number in self._members:
                self._times[number] = when
                heapq.heappush(self._due, (when, number))
                self._changed.notify_all()

    def _leave(self, number: int) -> None:
        with self._turn, self._changed:
            self._members.pop(number, None)
            self._times.pop(number, None)

    def _next(self) -> tuple[int, Telemetry] | None:
        """Whose turn it is, once it is; None to stop."""
        with self._changed:
            while not self._stopping:
                if self._due and self._due[0][0] <= time.monotonic():
                    when, number = heapq.heappop(self._due)
                    if self._times.get(number) == when:
                        return number, self._members[number]
                else:
                    self._changed.wait(self._due[0][0] - time.monotonic() if self._due else None)
        return None

    def _run(self) -> None:
        while (turn := self._next()) is not None:
            number, telemetry = turn
            try:
                with self._turn:
                    seconds = telemetry.step(0.0) if number in self._members else 0.0
            except Exception:
                log.exception("a step of telemetry broke")
                seconds = 1.0
            self._at(number, time.monotonic() + max(SHORTEST_SECONDS, seconds))


class Work:
    """An update machine with a thread only while there is something to do (`agent.link.post.Updates`)."""

    def __init__(self, machine: UpdateMachine) -> None:
        self._machine = machine
        self._lock = threading.Lock()
        self._again = self._stopping = False
        self._thread: threading.Thread | None = None

    def offer(self, desired: Desired) -> None:
        self._machine.offer(desired)
        self.wake()

    def reconnected(self) -> None:
        self._machine.reconnected()

    def wake(self) -> None:
        """Something may be to be done."""
        with self._lock:
            self._again = True
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._run, name="deployment", daemon=True)
                self._thread.start()

    def stop(self, seconds: float = 1.0) -> None:
        with self._lock:
            self._stopping = True
            thread = self._thread
        self._machine.stop()
        if thread is not None:
            thread.join(seconds)
        self._machine.leave()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._again or self._stopping:
                    self._thread = None
                    return
                self._again = False
            self._machine.work()
