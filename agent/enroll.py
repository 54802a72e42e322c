"""`edge-agent enroll`: introduce the device once, and say whether it is let in. `run` does the same by itself."""

import signal
import threading
from dataclasses import asdict, dataclass
from typing import Any, Literal

from agent import logs
from agent.config import Settings
from agent.device import device_adapter
from agent.files import private_folder
from agent.link import enrollment
from agent.lock import DataFolderLock
from agent.wire.messages import EnrollReply

#: Seconds to wait for an answer: the broker's delays, and the server's.
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """How the device stands. `none`: nobody answered."""

    status: Literal["accepted", "pending", "rejected", "none"]
    device_id: str = ""
    reason: str = ""

    def fields(self) -> dict[str, Any]:
        return asdict(self)

    def words(self) -> str:
        name = f"device {self.device_id}" if self.device_id else "the device"
        words = {
            "accepted": f"{name} is accepted",
            "pending": f"{name} waits to be accepted, on the server's page Enrollment",
            "rejected": f"{name} is rejected",
            "none": f"no answer within {PATIENCE:.0f} s: is the server's address right, and does it run? "
            "`edge-agent doctor` looks",
        }[self.status]
        return f"{words}: {self.reason}" if self.reason and self.status == "rejected" else words


def ask(settings: Settings, wait: bool) -> Answer:
    """Ask until the first answer, or with `wait` until the device is accepted.

    The identity is kept, so that `run` asks on with the same. Raises ConfigError, DataFolderInUseError or OSError.
    """
    known = enrollment.read(settings.data) if settings.data.is_dir() else None
    if known and known.device_id:
        return Answer("accepted", known.device_id)
    lock = DataFolderLock(private_folder(settings.data))
    try:
        return _ask(settings, wait)
    finally:
        lock.release()


def _ask(settings: Settings, wait: bool) -> Answer:
    stop, last = threading.Event(), EnrollReply(status="pending")
    heard = False

    def hear(reply: EnrollReply) -> None:
        nonlocal last, heard
        last, heard = reply, True
        if not wait:
            stop.set()

    device = device_adapter.adapter(settings.declared, settings.data)
    identity = enrollment.read_or_make(settings.data)
    logs.hide(identity.secret)
    asking = enrollment.Enrollment(settings, identity, device.hardware(), device.simulated, hear)
    timer = threading.Timer(PATIENCE, stop.set)
    timer.daemon = True
    if wait:
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        signal.signal(signal.SIGINT, lambda *_: stop.set())
    else:
        timer.start()
    enrolled = asking.run(stop)
    timer.cancel()
    if enrolled is not None:
        return Answer("accepted", enrolled.device_id)
    return Answer(last.status, last.device_id, last.reason) if heard else Answer("none")
