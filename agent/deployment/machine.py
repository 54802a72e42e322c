"""Drives the update machine: takes the newest desired state and brings the device there, one step at a time.

The thread's loop: take what is desired now (`records.converge`); do the step of the present state (`steps`); move by
the table (`transitions`); write the new state to disk; act on it; report it. A step that is interrupted by something
newer, or by the stop, is simply left; a step that breaks has the event `broken`.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from agent.deployment import records, trust, watch
from agent.deployment.delivery import Delivery, InterruptedWaitError
from agent.deployment.download import Downloader
from agent.deployment.provenance import Provenance
from agent.deployment.records import Attempt, Saved
from agent.deployment.report import Reporter
from agent.deployment.running import Running
from agent.deployment.steps import Outcome, Steps
from agent.deployment.store import Store
from agent.deployment.transitions import Event, after
from agent.device.resource_manager import Budget
from agent.inference.inference_engine import InferenceEngine
from agent.wire.hardware import DeviceClass
from agent.wire.messages import Desired
from agent.wire.states import Deployment as State

log = logging.getLogger(__name__)

#: Boots in a row that may die while they load the active artifact, before the previous one is used instead.
MAX_LOADS = 3
_WATCH_POLL_SECONDS = 0.25
#: Seconds to wait when the disk does not take the state: there is nothing sensible to do before it does.
_PAUSE_SECONDS = 5.0


class UpdateMachine:
    """One for each device. `offer` and `reconnected` may be called from any thread.

    on_change is called with what is remembered, whenever that changed. device_class is the one detected; the settings
    may name another.
    """

    def __init__(
        self,
        *,
        store: Store,
        delivery: Delivery,
        downloader: Downloader,
        provenance: Provenance,
        engine: InferenceEngine,
        reporter: Reporter,
        budget: Callable[[], Budget],
        device_class: DeviceClass,
        on_change: Callable[[Saved], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._reporter = reporter
        self._on_change = on_change
        self._clock = clock
        self._running = Running(store, engine, budget().threads)
        self._steps = Steps(
            store=store,
            delivery=delivery,
            downloader=downloader,
            provenance=provenance,
            budget=budget,
            device_class=lambda: DeviceClass(self._saved.config.device_class or device_class),
            rate=lambda: self._saved.config.transfer_rate,
            interrupted=self._interrupted,
        )
        self._saved = store.read_state()
        self._offered: Desired | None = None
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="deployment", daemon=True)

    # --- Any thread ---

    @property
    def saved(self) -> Saved:
        """What is remembered now."""
        return self._saved

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float = 1.0) -> None:
        """Leave the step that is under way; the next boot repeats it."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        self._thread.join(seconds)

    def offer(self, desired: Desired) -> None:
        """A desired state came. Only the newest counts."""
        with self._wake:
            if self._offered is None or desired.version > self._offered.version:
                self._offered = desired
                self._wake.notify_all()

    def reconnected(self) -> None:
        """Say again how the last attempt stands: the report may have been lost with the link."""
        self._reporter.report(self._saved.attempt)

    # --- The machine's own thread ---

    def _interrupted(self) -> bool:
        """Whether the step under way should be left. Settings that came are taken on the way."""
        with self._wake:
            offered, stopping = self._offered, self._stopping
        if offered is None or records.turns_away(self._saved, offered):
            return stopping or offered is not None
        before = self._saved.attempt
        self._converge()  # it may find something newer still
        return stopping or self._saved.attempt != before

    def _run(self) -> None:
        try:
            self._power_on()
        except Exception:
            log.exception("the saved state could not be resumed")
        while not self._stopping:
            try:
                self._converge()
                attempt = self._saved.attempt
                if attempt is None or not attempt.open:
                    self._wait()
                else:
                    self._step(attempt)
            except Exception as problem:
                full = isinstance(problem, OSError)
                log.error("no step: %s; trying again in %.0f s", problem, _PAUSE_SECONDS, exc_info=not full)
                with self._wake:
                    self._wake.wait_for(lambda: self._stopping, _PAUSE_SECONDS)
        self._leave()

    def _wait(self) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._stopping or self._offered is not None)

    def _leave(self) -> None:
        attempt = self._saved.attempt
        if attempt is not None and attempt.open:
            self._try_save(attempt=msgspec.structs.replace(attempt, clean=True))

    def _save(self, saved: Saved | None = None, **changes: Any) -> None:
        """On disk first, then in memory and to the outside."""
        saved = msgspec.structs.replace(saved or self._saved, **changes)
        if saved != self._saved:
            self._store.write_state(saved)
            self._saved = saved
            self._on_change(saved)

    def _try_save(self, **changes: Any) -> None:
        """For counters: what they protect from is less bad than a device that does nothing because its disk is full."""
        try:
            self._save(None, **changes)
        except OSError as problem:
            log.error("the disk does not take the state: %s", problem)

    def _converge(self) -> None:
        """Take the newest desired state. It stays on offer until the disk has it."""
        desired = self._offered
        if desired is None:
            return
        before = self._saved.attempt
        turning = records.turns_away(self._saved, desired)
        self._save(records.converge(self._saved, desired))
        with self._wake:
            if self._offered is desired:
                self._offered = None
        if turning:
            if before is not None and before.state is State.WATCHING and self._saved.attempt != before:
                self._running.end_watch()
            attempt = self._saved.attempt
            log.info("desired state %d: %s", desired.version, desired.manifest[:12] or "nothing")
            self._reporter.report(attempt)
            if attempt is None or not attempt.open:
                self._tidy(attempt)

    def _step(self, attempt: Attempt) -> None:
        try:
            outcome = self._do(attempt)
        except InterruptedWaitError:
            return
        except Exception as problem:
            log.exception("the step %s broke", attempt.state)
            told = isinstance(problem, ValueError | RuntimeError)  # the agent's own errors are sentences
            outcome = Outcome(Event.BROKEN, str(problem) if told else f"{type(problem).__name__}: {problem}")
        if outcome is not None:
            self._move(outcome)

    def _do(self, attempt: Attempt) -> Outcome | None:
        steps = self._steps
        match attempt.state:
            case State.NOTIFIED:
                return steps.check(attempt, self._kept(), self._saved.newest)
            case State.DOWNLOADING:
                return steps.download(attempt, lambda words, share: self._reporter.progress(attempt, words, share))
            case State.VERIFIED:
                return steps.verify(attempt)
            case State.INSTALLING:
                return steps.install(attempt)
            case State.SELF_TESTING:
                return self._self_test(attempt)
            case _:
                return self._watch(attempt)

    def _move(self, outcome: Outcome) -> None:
        """The transition and its effects: remember it, act on it, report it."""
        old = self._saved.attempt
        assert old is not None  # noqa: S101 -- only an attempt has steps
        state = after(old.state, outcome.event)
        evidence = dict(outcome.evidence) or old.evidence
        attempt = msgspec.structs.replace(old, state=state, reason=outcome.reason[:1000], evidence=evidence)
        log.info("deployment %s: %s -> %s %s", attempt.deployment_id or "-", old.state, state, attempt.reason)
        if state in (State.FAILED, State.REJECTED):
            self._tidy(attempt)  # first: on a disk that is full, this makes the room to remember anything
            self._save(attempt=attempt)
        elif state is State.ACTIVE:
            self._save(records.proven(self._saved), attempt=attempt)
        elif state is State.ROLLED_BACK:
            self._roll_back(attempt)
        else:
            self._save(attempt=attempt)
        self._reporter.report(attempt)
        if not attempt.open:
            self._tidy(attempt)

    def _kept(self) -> tuple[str, ...]:
        return tuple(each.manifest for each in (self._saved.active, self._saved.previous) if each)

    def _tidy(self, attempt: Attempt | None) -> None:
        """What neither runs, nor ran before, nor is under way may go."""
        keep, fetching = self._kept(), None
        if attempt is not None and attempt.open:
            keep = (*keep, attempt.manifest)
            with contextlib.suppress(trust.TrustError):  # it is not here yet
                fetching = self._store.manifest(attempt.manifest)
        self._store.claim("deployment", keep, fetching)
        self._store.collect()

    # --- Testing, swapping, watching ---

    def _self_test(self, attempt: Attempt) -> Outcome | None:
        """None when it passed: the swap is a transition with effects of its own."""
        attempt = msgspec.structs.replace(attempt, tests=attempt.tests + 1)
        self._save(attempt=attempt)
        outcome = self._steps.self_test(attempt)
        if outcome.event is not Event.PASSED:
            return outcome
        # Loaded beside the running one; that one decides until the swap.
        model = self._running.load(attempt.manifest)
        watched = msgspec.structs.replace(
            attempt, state=after(attempt.state, Event.PASSED), crashes=0, evidence=dict(outcome.evidence)
        )
        manifest = self._store.manifest(attempt.manifest)
        self._save(records.swapped(self._saved, watched, manifest, self._clock()))
        self._running.swap(model, watched=True)
        log.info("deployment %s: %s -> %s", attempt.deployment_id or "-", attempt.state, watched.state)
        self._reporter.report(watched)
        return None

    def _watch(self, attempt: Attempt) -> Outcome:
        deadline_ms = self._store.manifest(attempt.manifest).deadline_ms
        meter, began = self._running.watch(), time.monotonic()
        while True:
            elapsed, seconds = time.monotonic() - began, self._saved.config.watch_seconds
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
            with self._wake:
                self._wake.wait_for(lambda: self._stopping or self._offered is not None, _WATCH_POLL_SECONDS)

    def _roll_back(self, attempt: Attempt | None) -> None:
        """The previous artifact decides again; without one that loads, nothing does."""
        saved = records.fallen_back(self._saved)
        model = self._running.try_load(saved.active.manifest) if saved.active else None
        if saved.active and model is None:
            saved = msgspec.structs.replace(saved, active=None)
        self._save(saved, attempt=attempt)
        self._running.swap(model)

    # --- Power-on ---

    def _power_on(self) -> None:
        """Count what the power cut was, then get the active artifact to run, or the one before it."""
        attempt = self._saved.attempt
        if self._saved != Saved():  # with no memory at all, what lies here may still be wanted
            self._tidy(attempt)
        if attempt is not None:
            resumed, event, reason = records.at_power_on(attempt)
            self._try_save(attempt=resumed)
            if event is not None:
                counts = {"tests": resumed.tests, "crashes": resumed.crashes}
                self._move(Outcome(event, reason, {**attempt.evidence, **counts}))
        if self._saved.active is not None and not self._running.anything:
            reason = self._run_active(self._saved.active.manifest)
            if reason:
                self._give_up_active(self._saved.active.manifest, reason)

    def _run_active(self, digest: str) -> str:
        """Load the active artifact. Why it cannot be used; empty when it runs."""
        if self._saved.loads >= MAX_LOADS:
            return f"The agent died {self._saved.loads} times in a row while it loaded the model."
        self._try_save(loads=self._saved.loads + 1)
        try:
            model = self._running.load(digest)
        except Exception as problem:
            return f"The model does not load any more: {problem}"
        self._try_save(loads=0)
        attempt = self._saved.attempt
        self._running.swap(model, watched=attempt is not None and attempt.state is State.WATCHING)
        return ""

    def _give_up_active(self, digest: str, reason: str) -> None:
        log.error("the active artifact %s cannot be used: %s", digest[:12], reason)
        attempt = self._saved.attempt
        if attempt and attempt.manifest == digest and attempt.state in (State.WATCHING, State.ACTIVE):
            self._move(Outcome(Event.UNHEALTHY, reason, attempt.evidence))
        else:
            self._roll_back(attempt)
