"""What the device does in each state of the update machine. Each step may be repeated after a power cut."""

import logging
import time
from collections.abc import Callable, Mapping

from agent.deployment import trust
from agent.deployment.delivery import Delivery, InterruptedWaitError
from agent.deployment.download import Downloader, DownloadError
from agent.deployment.outcome import Outcome, Tell
from agent.deployment.provenance import Provenance, Vouched, check_version
from agent.deployment.records import Attempt
from agent.deployment.store import Store
from agent.deployment.transitions import Event
from agent.device.resource_manager import Budget
from agent.wire import manifest as wire
from agent.wire.fit import Need, misfits
from agent.wire.hardware import DeviceClass

log = logging.getLogger(__name__)

#: A board without a clock of its own has the wrong time until the network tells it: wait so long, look so often.
CLOCK_SECONDS, CLOCK_POLL_SECONDS = 900.0, 10.0

_POLL_SECONDS = 0.25


class Steps:
    """The effects of the states from notified to installing; `agent.deployment.proving` has that of self_testing.

    budget, device_class and rate are asked at each step: they can change while the agent runs. A device with a rate of
    its own takes no blocks that are sent to many at once, which come as fast as the others can. interrupted says that
    the result is not wanted any more; a step then raises InterruptedWaitError.
    """

    def __init__(
        self,
        *,
        store: Store,
        delivery: Delivery,
        downloader: Downloader,
        provenance: Provenance,
        budget: Callable[[], Budget],
        device_class: Callable[[], DeviceClass],
        rate: Callable[[], float],
        interrupted: Callable[[], bool],
    ) -> None:
        self._store = store
        self._delivery = delivery
        self._downloader = downloader
        self._provenance = provenance
        self._budget = budget
        self._device_class = device_class
        self._rate = rate
        self._interrupted = interrupted

    def check(self, attempt: Attempt, keep: tuple[str, ...], newest: Mapping[str, int], tell: Tell) -> Outcome:
        """Get the manifest; is it vouched for, for this class, and does it fit?

        `keep` are artifacts that must stay, `newest` the version of each model that ran here last.
        """
        data = self._store.manifest_bytes(attempt.manifest)
        if data is None:
            data = self._delivery.fetch_manifest(attempt.manifest, self._interrupted) or b""
        try:
            manifest = trust.read(data, attempt.manifest)
            vouched = self._vouched(attempt, tell)
            check_version(manifest, vouched, newest.get(manifest.model, 0))
            trust.check_class(manifest, self._device_class())
        except trust.TrustError as problem:
            return Outcome(Event.REFUSED, str(problem))
        self._store.claim("deployment", (*keep, attempt.manifest), manifest)
        self._store.collect()
        installed = self._store.installed(attempt.manifest, manifest)
        reasons = misfits(Need(manifest.memory_bytes, 0 if installed else self._to_write(manifest)), self._budget())
        if reasons:
            return Outcome(Event.REFUSED, " ".join(reasons))
        self._store.keep_manifest(attempt.manifest, data)
        return Outcome(Event.ACCEPTED)

    def _vouched(self, attempt: Attempt, tell: Tell) -> Vouched:
        """What is signed for the manifest, as soon as the clock lets it be read. Raises TrustError."""
        end = time.monotonic() + CLOCK_SECONDS
        while True:
            try:
                return self._provenance.vouched(attempt.manifest, attempt.told, self._interrupted)
            except trust.ClockError as problem:
                if time.monotonic() >= end:
                    raise trust.TrustError(f"{problem} Set the clock, then roll out again.") from problem
                tell(f"Waiting for the clock to be set. {problem}", 0.0)
                self._pause(CLOCK_POLL_SECONDS)

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._interrupted():
                raise InterruptedWaitError
            time.sleep(_POLL_SECONDS)

    def _to_write(self, manifest: wire.Manifest) -> int:
        """Bytes of the parts that are not here yet, and of the artifact that is put together from all of them."""
        here = {path.name for path in self._store.parts.iterdir()}
        parts = {part.digest: part.size for part in manifest.parts if part.digest not in here}
        return sum(parts.values()) + manifest.size

    def download(self, attempt: Attempt, tell: Tell) -> Outcome:
        manifest = self._store.manifest(attempt.manifest)
        if self._store.installed(attempt.manifest, manifest):
            return Outcome(Event.COMPLETE)
        try:
            self._downloader.fetch(
                manifest,
                self._interrupted,
                lambda here, total, words: tell(words, here / total if total else 1.0),
                cast="" if self._rate() else attempt.manifest,
            )
        except DownloadError as problem:
            return Outcome(Event.BROKEN, str(problem))
        return Outcome(Event.COMPLETE)

    def verify(self, attempt: Attempt) -> Outcome:
        manifest = self._store.manifest(attempt.manifest)
        if self._store.installed(attempt.manifest, manifest):
            return Outcome(Event.TRUSTED)
        lacking = [part.digest[:12] for part in manifest.parts if not self._store.has(part)]
        return (
            Outcome(Event.LACKING, f"Damaged on the disk: {', '.join(lacking[:8])}.")
            if lacking
            else Outcome(Event.TRUSTED)
        )

    def install(self, attempt: Attempt) -> Outcome:
        manifest = self._store.manifest(attempt.manifest)
        data = self._store.manifest_bytes(attempt.manifest) or b""
        if self._store.installed(attempt.manifest, manifest) or self._store.install(attempt.manifest, manifest, data):
            return Outcome(Event.INSTALLED)
        return Outcome(Event.BROKEN, "The parts, put together, have not the digest that the manifest names.")
