"""SIGTERM and SIGINT, for a process that works in threads."""

import os
import signal
import threading


def told_to_stop() -> threading.Event:
    """Set once SIGTERM or SIGINT came.

    A signal may reach any thread, and Python runs handlers in the main one only when that wakes up by itself; the
    wake-up pipe is written at once, whichever thread it was.
    """
    stop = threading.Event()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writing)

    def wait() -> None:
        os.read(reading, 1)
        stop.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
    return stop
