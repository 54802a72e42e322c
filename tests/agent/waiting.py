"""Nothing sleeps for luck: tests wait for a condition, with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(words: str, condition: Callable[[], T], seconds: float = 20.0) -> T:
    """What `condition` gives once it is true. Raises TimeoutError that says what was waited for."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {words}")
        time.sleep(0.01)
