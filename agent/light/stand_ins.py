"""What stands in for inference on a light device. Nothing here is measured, and what it reports says so."""

import time
from collections.abc import Callable

from agent.deployment.outcome import Outcome, Tell
from agent.deployment.store import Store
from agent.deployment.transitions import Event
from agent.inference.meter import Meter
from agent.link.commands import CommandError, Progress
from agent.link.connection import Connection
from agent.wire.messages import LIGHT, BenchmarkArgs, Sample


class NoTests:
    """Passes what was installed (`agent.deployment.inference.Tests`), and calls itself a stand-in in the evidence."""

    def is_due(self, digest: str) -> bool:
        return False

    def test(self, digest: str, tell: Tell, interrupted: Callable[[], bool]) -> Outcome:
        return Outcome(Event.PASSED, evidence={"stand_in": LIGHT})


class NoInference:
    """Keeps whole artifacts and lets none decide (`agent.deployment.inference.Runs`). A model is its digest."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._running: str | None = None
        self.threads = 1
        self.lean = False
        self.memory = 0
        #: It sees no decision, so a watch ends well when its time is over.
        self._meter = Meter(local_only=True)

    @property
    def anything(self) -> bool:
        return self._running is not None

    @property
    def in_step(self) -> bool:
        return True

    @property
    def behind(self) -> bool:
        return False

    def rethread(self) -> None:
        """There are no threads of a decision."""

    def load(self, digest: str) -> str:
        """Every byte is checked, as for a model that decides. Raises OSError or TrustError."""
        if not self._store.installed(digest, self._store.manifest(digest)):
            raise OSError(f"the installed artifact {digest[:12]} is damaged on the disk")
        return digest

    def try_load(self, digest: str) -> str | None:
        try:
            return self.load(digest)
        except (OSError, ValueError):
            return None

    def distrust(self, digest: str) -> None:
        """There is no runtime to distrust."""

    def swap(self, model: str | None, watched: bool = False) -> None:
        self._running = model

    def watch(self) -> Meter:
        return self._meter

    def end_watch(self) -> None:
        """Nobody counted."""


class LinkOnly:
    """Samples of one boot (`agent.link.telemetry.Sampler`): what the link carried, and nothing made up."""

    def __init__(self, connection: Connection, manifest: Callable[[], str]) -> None:
        self._connection = connection
        self._manifest = manifest
        self._seq = 0
        self._last = time.monotonic()
        self._traffic = 0, 0

    def sample(self, queued: int) -> Sample:
        now = time.monotonic()
        interval, self._last = max(1e-3, now - self._last), now
        before, self._traffic = self._traffic, (self._connection.received, self._connection.sent)
        received, sent = ((new - old) / interval for new, old in zip(self._traffic, before, strict=True))
        self._seq += 1
        return Sample(
            seq=self._seq,
            at=time.time(),
            network_rx=round(received, 1),
            network_tx=round(sent, 1),
            interval=round(interval, 3),
            queued=queued,
            manifest=self._manifest(),
        )


def no_benchmark(_: BenchmarkArgs, _progress: Progress) -> dict[str, object]:
    raise CommandError("This is a light device: it has no inference, so there is nothing to measure.")
