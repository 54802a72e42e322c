"""Lets the requests of other programs through for a share of the time, and tells the others why not.

A bucket of seconds: it fills with the share of each second that passes, a request takes out as long as it ran, and one
that finds the bucket empty is refused. So the share holds whatever a request costs.
"""

import threading
import time
from collections.abc import Callable

#: Seconds that the bucket holds: what may be asked for at once after a silence.
_BURST = 1.0


class RefusedError(RuntimeError):
    """A request that is not answered now, to stay within a budget; the message is the sentence for whoever asked."""


class Gate:
    """Open unless `set` says otherwise. Any thread may use it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._share = 1.0
        self._why = ""
        self._left = _BURST
        self._filled = clock()

    def set(self, share: float, why: str = "") -> None:
        """share is 0 to 1 of the time; why becomes part of the refusal: `its memory was at 93 % of its budget`."""
        with self._lock:
            self._fill()
            self._share, self._why = share, why

    def check(self) -> None:
        """Raises RefusedError when there is no time left for a request."""
        if self._share >= 1.0:
            return
        with self._lock:
            self._fill()
            if self._share > 0 and self._left > 0:
                return
        raise RefusedError(
            f"This device keeps within its budgets and does not answer now: {self._why}. Ask again later."
        )

    @property
    def open(self) -> bool:
        """Whether `check` would let a request through."""
        try:
            self.check()
        except RefusedError:
            return False
        return True

    def took(self, seconds: float) -> None:
        """A request ran for so long."""
        if self._share < 1.0:
            with self._lock:
                self._fill()
                self._left -= seconds

    def _fill(self) -> None:
        now = self._clock()
        self._left = min(_BURST * self._share, self._left + self._share * (now - self._filled))
        self._filled = now
