"""Tells the server where a deployment stands."""

import threading
import time
from collections.abc import Callable

from agent.deployment.records import Attempt
from agent.link.connection import Connection
from agent.wire import codec, topics
from agent.wire.messages import DeploymentReport
from agent.wire.states import DEVICE_STATES

#: Seconds between two reports of progress within one state: at least, and at most while it says something new. Between
#: the two, one is due when so much more is done: a thousand devices that are watched have nothing to say each second.
PROGRESS_SECONDS, LONGEST_SECONDS = 1.0, 5.0
PROGRESS_SHARE = 0.1


class Reporter:
    """Numbers the reports of one boot. One that finds no link is not kept: connecting reports the attempt again."""

    def __init__(
        self,
        device_id: str,
        boot_id: str,
        connection: Connection,
        clock: Callable[[], float] = time.time,
        steady_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topics.up(device_id, "deployment")
        self._boot_id = boot_id
        self._connection = connection
        self._clock = clock
        self._steady_clock = steady_clock
        self._lock = threading.Lock()
        self._seq = 0
        self._told = ("", 0.0, float("-inf"))

    def report(self, attempt: Attempt | None, step: str = "", progress: float = 0.0) -> None:
        """Say how the attempt stands. One without a deployment's id is nobody's: it is the desired state by itself.

        One that has not begun is reported with the step that says why.
        """
        if attempt is None or not attempt.deployment_id or not (step or attempt.state in DEVICE_STATES):
            return
        with self._lock:  # held while sending, so that the numbers go out in order
            self._seq += 1
            message = DeploymentReport(
                deployment_id=attempt.deployment_id,
                boot_id=self._boot_id,
                seq=self._seq,
                at=self._clock(),
                state=attempt.state.value,  # type: ignore[arg-type]  # one of DEVICE_STATES, or notified
                step=step[:200],
                progress=min(1.0, max(0.0, progress)),
                reason=attempt.reason[:1000],
                evidence=attempt.evidence,
            )
            self._connection.publish(self._topic, codec.encode(message))

    def progress(self, attempt: Attempt, step: str, share: float) -> None:
        """As `report`, where it has come far enough since the last time."""
        state, before, at = self._told
        now = self._steady_clock()
        far = attempt.state != state or share - before >= PROGRESS_SHARE
        if now - at >= (PROGRESS_SECONDS if far else LONGEST_SECONDS):
            self._told = attempt.state, share, now
            self.report(attempt, step, share)
