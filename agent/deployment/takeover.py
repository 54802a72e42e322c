"""How another artifact comes to decide: the self-test, the swap, the watch over it, and the way back."""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from agent.deployment import records, watch
from agent.deployment.delivery import InterruptedWaitError
from agent.deployment.inference import Runs, Tests
from agent.deployment.kept import Kept
from agent.deployment.outcome import Outcome
from agent.deployment.records import Attempt
from agent.deployment.report import Reporter
from agent.deployment.store import Store
from agent.deployment.transitions import Event, after

log = logging.getLogger(__name__)

_WATCH_POLL_SECONDS = 0.25


class Takeover:
    """The effects of the states self_testing and watching, and of rolling back. Used by the update machine's thread.

    interrupted says that the step under way should be left, pause waits for so many seconds, or until it should be.
    on_swap is called when another model decides.
    """

    def __init__(
        self,
        *,
        store: Store,
        kept: Kept,
        running: Runs,
        proving: Tests,
        reporter: Reporter,
        interrupted: Callable[[], bool],
        pause: Callable[[float], None],
        on_swap: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._kept = kept
        self._running = running
        self._proving = proving
        self._reporter = reporter
        self._interrupted = interrupted
        self._pause = pause
        self._on_swap = on_swap
        self._clock = clock

    def self_test(self, attempt: Attempt) -> Outcome | None:
        """None when it passed: the swap is a transition with effects of its own."""
        attempt = msgspec.structs.replace(attempt, tests=attempt.tests + 1)
        self._kept.save(attempt=attempt)
        outcome = self._proving.test(attempt.manifest, partial(self._reporter.report, attempt), self._interrupted)
        if outcome.event is not Event.PASSED:
            return outcome
        # Loaded beside the running one; that one decides until the swap.
        model = self._running.load(attempt.manifest)
        watched = msgspec.structs.replace(
            attempt, state=after(attempt.state, Event.PASSED), crashes=0, evidence=dict(outcome.evidence)
        )
        manifest = self._store.manifest(attempt.manifest)
        self._kept.save(records.swapped(self._kept.saved, watched, manifest, self._clock()))
        self.swap(model, watched=True)
        log.info("deployment %s: %s -> %s", attempt.deployment_id or "-", attempt.state, watched.state)
        self._reporter.report(watched)
        return None

    def watch(self, attempt: Attempt) -> Outcome:
        deadline_ms = self._store.manifest(attempt.manifest).deadline_ms
        meter, began = self._running.watch(), time.monotonic()
        while True:
            elapsed, seconds = time.monotonic() - began, self._kept.saved.config.watch_seconds
            window = meter.look()
            verdict = watch.judge(window, deadline_ms, elapsed, seconds)
            if verdict.word != "watching":
                self._running.end_watch()
                event = Event.HEALTHY if verdict.word == "healthy" else Event.UNHEALTHY
                return Outcome(event, verdict.reason, watch.evidence(window, deadline_ms))
            if self._interrupted():
                raise InterruptedWaitError
            words = f"{window.decisions} decisions, {window.errors + window.not_finite} errors"
            self._reporter.progress(attempt, words, elapsed / seconds)
            self._pause(_WATCH_POLL_SECONDS)

    def roll_back(self, attempt: Attempt | None) -> None:
        """The previous artifact decides again; without one that loads, nothing does."""
        saved = records.fallen_back(self._kept.saved)
        model = self._running.try_load(saved.active.manifest) if saved.active else None
        if saved.active and model is None:
            saved = msgspec.structs.replace(saved, active=None)
        self._kept.save(saved, attempt=attempt)
        self.swap(model)

    def swap(self, model: Any, watched: bool = False) -> None:
        self._running.swap(model, watched)
        self._on_swap()
