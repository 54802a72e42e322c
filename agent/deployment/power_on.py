"""What the last boot left: an attempt under way, and the artifact that decided."""

import contextlib
import logging
from collections.abc import Callable

from agent.deployment import records
from agent.deployment.delivery import InterruptedWaitError
from agent.deployment.inference import Runs, Tests
from agent.deployment.kept import Kept
from agent.deployment.outcome import Outcome
from agent.deployment.records import Saved
from agent.deployment.takeover import Takeover
from agent.deployment.transitions import Event
from agent.wire.states import Deployment as State

log = logging.getLogger(__name__)

#: Boots in a row that may die while they load the active artifact, before the previous one is used instead.
MAX_LOADS = 3


class PowerOn:
    """Done once, by the update machine's thread. move takes the attempt on by the outcome of what it was at."""

    def __init__(
        self,
        *,
        kept: Kept,
        running: Runs,
        proving: Tests,
        takeover: Takeover,
        move: Callable[[Outcome], None],
        interrupted: Callable[[], bool],
    ) -> None:
        self._kept = kept
        self._running = running
        self._proving = proving
        self._takeover = takeover
        self._move = move
        self._interrupted = interrupted

    def resume(self) -> None:
        """Count what the power cut was, then get the active artifact to run, or the one before it."""
        attempt = self._kept.saved.attempt
        if self._kept.saved != Saved():  # with no memory at all, what lies here may still be wanted
            self._kept.tidy(attempt)
        if attempt is not None:
            resumed, event, reason = records.at_power_on(attempt)
            self._kept.try_save(attempt=resumed)
            if event is not None:
                counts = {"tests": resumed.tests, "crashes": resumed.crashes}
                self._move(Outcome(event, reason, {**attempt.evidence, **counts}))
        active = self._kept.saved.active
        if active is not None and not self._running.anything:
            reason = self._run(active.manifest)
            if reason:
                self._give_up(active.manifest, reason)

    def _run(self, digest: str) -> str:
        """Load the active artifact. Why it cannot be used; empty when it runs."""
        kept = self._kept
        if kept.saved.loads >= MAX_LOADS:
            return f"The agent died {kept.saved.loads} times in a row while it loaded the model."
        kept.try_save(loads=kept.saved.loads + 1)
        try:
            if kept.saved.loads > 1 or (kept.saved.attempt is not None and kept.saved.attempt.crashes):
                self._running.distrust(digest)
            model = self._running.load(digest)
        except Exception as problem:
            return f"The model does not load any more: {problem}"
        kept.try_save(loads=0)
        attempt = kept.saved.attempt
        self._takeover.swap(model, watched=attempt is not None and attempt.state is State.WATCHING)
        return ""

    def _give_up(self, digest: str, reason: str) -> None:
        log.error("the active artifact %s cannot be used: %s", digest[:12], reason)
        attempt = self._kept.saved.attempt
        if attempt and attempt.manifest == digest and attempt.state in (State.WATCHING, State.ACTIVE):
            self._move(Outcome(Event.UNHEALTHY, reason, attempt.evidence))
        else:
            self._takeover.roll_back(attempt)

    def measure_again(self) -> None:
        """Choose the runtime anew for what runs, when it was chosen on other hardware or with other libraries."""
        active, attempt = self._kept.saved.active, self._kept.saved.attempt
        if active is None or not self._running.anything or (attempt is not None and attempt.open):
            return
        if not self._proving.is_due(active.manifest):
            return
        with contextlib.suppress(InterruptedWaitError):
            if self._proving.test(active.manifest, lambda *_: None, self._interrupted).event is Event.PASSED:
                self._takeover.swap(self._running.load(active.manifest))
