"""Honcho, which runs the demo's processes, and remembers which of them ended by itself."""

from dataclasses import dataclass
from typing import Any

from honcho.manager import Manager


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended by itself; code is its exit code, or minus the signal that killed it."""

    name: str
    code: int

    def __str__(self) -> str:
        how = f"killed by signal {-self.code}" if self.code < 0 else f"exit code {self.code}"
        return f"{self.name} ended by itself ({how})"


class _Events:
    """Honcho's queue of events; the first end that goes through it is kept."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self.first: Ended | None = None

    def put(self, event: Any) -> None:
        self._queue.put(event)

    def get(self, timeout: float) -> Any:
        event = self._queue.get(timeout=timeout)
        if event.type == "stop" and self.first is None:
            self.first = Ended(event.name, event.data["returncode"])
        return event


class Supervisor(Manager):
    """Honcho's lines say of every process that it stopped; in the last screenful nobody finds the one that began it.

    `first` is that one, None when a signal to the supervisor ended them all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first: Ended | None = None
        self.events = _Events(self.events)
        self._ending = False

    def terminate(self) -> None:
        """Called by honcho when a signal has come or a process has ended, whichever is first, and perhaps again."""
        if not self._ending:
            self._ending, self.first = True, self.events.first
        super().terminate()
