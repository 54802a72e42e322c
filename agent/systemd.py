"""What systemd wants to know of a service: sd_notify(3) in plain Python, and a watchdog that tells the truth.

systemd restarts a service that does not say `WATCHDOG=1` in time. It is said only while every part of the agent is
alive, so that a hung thread ends in a restart and not in a device that looks well and does nothing.
"""

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence

from agent.pulse import Pulse

log = logging.getLogger(__name__)

#: Seconds between two looks at the parts where no service manager asks for any.
LOOK_SECONDS = 15.0


class Notifier:
    """Tells the service manager that started this process. Without one it does nothing."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        # `@` stands for the null byte at the start of an abstract address.
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        #: Seconds between two signs of life that the manager asks for; None: it asks for none.
        self.watchdog = _watchdog(environment) if path else None

    def tell(self, *words: str) -> None:
        """For example READY=1, or STATUS= and a sentence."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
                link.settimeout(1.0)
                link.sendto("\n".join(words).encode(), self._address)
        except OSError as problem:
            log.warning("the service manager does not hear: %s", problem)


def _watchdog(environment: Mapping[str, str]) -> float | None:
    """Half of the time that systemd gives, as its manual advises."""
    try:
        meant = int(environment.get("WATCHDOG_PID") or os.getpid()) == os.getpid()
        microseconds = int(environment.get("WATCHDOG_USEC") or 0)
    except ValueError:
        return None
    return microseconds / 2e6 if meant and microseconds > 0 else None


class Watchdog(threading.Thread):
    """Looks at the parts, and tells the service manager while all of them are alive. status gives its sentence."""

    def __init__(self, notifier: Notifier, pulses: Sequence[Pulse], status: Callable[[], str] = lambda: "") -> None:
        super().__init__(name="watchdog", daemon=True)
        self._notifier = notifier
        self._pulses = pulses
        self._status = status
        self._stop_event = threading.Event()
        self._said = ""

    def stop(self) -> None:
        self._stop_event.set()

    def run(self) -> None:
        pause = min(LOOK_SECONDS, self._notifier.watchdog or LOOK_SECONDS)
        while True:
            self.look()
            if self._stop_event.wait(pause):
                return

    def look(self) -> bool:
        """Whether all parts are alive; says so, or says once which one is not."""
        troubles = "; ".join(filter(None, (pulse.trouble() for pulse in self._pulses)))
        if troubles and troubles != self._said:
            end = "the service manager restarts it" if self._notifier.watchdog else "nothing here restarts it"
            log.error("%s; %s", troubles, end)
        self._said = troubles
        if troubles:
            self._notifier.tell(f"STATUS={troubles}")
            return False
        words = ["WATCHDOG=1"] if self._notifier.watchdog else []
        self._notifier.tell(*words, f"STATUS={self._status()}")
        return True
