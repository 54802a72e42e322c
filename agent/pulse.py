"""Signs of life: each part of the agent says that it goes on, and whoever looks sees which one does not."""

import threading
import time
from collections.abc import Callable


class Pulse:
    """One part's sign of life.

    A part that works calls `beat` at least every `seconds`; one that waits for something which may never come calls
    `rest` first. Both cost next to nothing. thread is the one that does the part's work: it must be alive, too.
    """

    def __init__(
        self, name: str, seconds: float, thread: threading.Thread, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.seconds = seconds
        self._thread = thread
        self._clock = clock
        self._since: float | None = None

    def beat(self) -> None:
        self._since = self._clock()

    def go_on(self) -> None:
        """As `beat`, but a part that rests goes on resting: for work that others may do as well."""
        if self._since is not None:
            self._since = self._clock()

    def rest(self) -> None:
        self._since = None

    def trouble(self) -> str:
        """Why this part is not alive; empty while it is."""
        if self._thread.ident is not None and not self._thread.is_alive():
            return f"the part {self.name} has ended"
        since = self._since
        if since is not None and self._clock() - since > self.seconds:
            return f"the part {self.name} has not moved for more than {self.seconds:.0f} s"
        return ""
