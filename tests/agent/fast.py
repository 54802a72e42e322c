"""`python -m tests.agent.fast SPEED LIMIT`: an enrolled agent whose clock runs SPEED times as fast as the machine's.

Sped up are the times of samples, reports and orders, the telemetry's interval and pace, and the control loop's rate.
Not sped up are the link (its keepalive, its waits between attempts), the steps of an update, and the work itself: a
decision, a sample, a write to the disk take what they take. LIMIT is how many samples its queue may hold.
"""

import os
import sys
import threading
import time
from functools import partial

from agent import config, logs, main, stopping
from agent.clock import Clock
from agent.device import device_adapter
from agent.link.enrollment import read_or_make
from agent.link.offline_queue import OfflineQueue


class FastClock(Clock):
    """Begins at the machine's time."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._time, self._monotonic = time.time(), time.monotonic()

    def time(self) -> float:
        return self._time + self._speed * (time.monotonic() - self._monotonic)

    def monotonic(self) -> float:
        return self._monotonic + self._speed * (time.monotonic() - self._monotonic)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(seconds / self._speed)


def run(speed: float, limit: int) -> None:
    stop = stopping.told_to_stop()
    settings = config.load({}, os.environ)
    logs.set_up(settings.data, "INFO", "json")
    device = device_adapter.adapter(settings.declared, settings.data)
    main.OfflineQueue = partial(OfflineQueue, limit=limit)  # type: ignore[assignment, misc]
    main.Agent(settings, device, read_or_make(settings.data), clock=FastClock(speed)).run(stop)


if __name__ == "__main__":
    run(float(sys.argv[1]), int(sys.argv[2]))
