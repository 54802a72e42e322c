"""The time that an agent goes by: the machine's own, or one that runs faster, for a trial of weeks."""

import threading
import time


class Clock:
    """The machine's own time."""

    def time(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Until the event is set, or so many seconds of this clock have passed. Whether it is set."""
        return event.wait(seconds)


SYSTEM = Clock()
