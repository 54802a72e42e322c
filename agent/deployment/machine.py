"""Drives the update machine: takes the newest desired state and brings the device there, one step at a time.

The thread's loop: take what is desired now (`records.converge`); do the step of the present state (`steps`,
`takeover`); move by the table (`transitions`); write the new state to disk (`kept`); act on it; report it. A step that
is interrupted by something newer, or by the stop, is simply left; a step that breaks has the event `broken`.
"""

import logging
import threading
import time
from collections.abc import Callable

import msgspec

from agent.deployment import records
from agent.deployment.delivery import Delivery, InterruptedWaitError
from agent.deployment.download import Downloader
from agent.deployment.inference import Runs, Tests
from agent.deployment.kept import Kept
from agent.deployment.outcome import Outcome
from agent.deployment.power_on import PowerOn
from agent.deployment.provenance import Provenance
from agent.deployment.records import Attempt, Saved
from agent.deployment.report import Reporter
from agent.deployment.steps import Steps
from agent.deployment.store import Store
from agent.deployment.takeover import Takeover
from agent.deployment.transitions import Event, after
from agent.device.resource_manager import Budget
from agent.pulse import Pulse
from agent.wire.hardware import DeviceClass
from agent.wire.messages import Desired
from agent.wire.states import Deployment as State

log = logging.getLogger(__name__)

#: Seconds to wait when the disk does not take the state: there is nothing sensible to do before it does.
_PAUSE_SECONDS = 5.0
#: Seconds after which a step that gives no sign hangs. Loading a large model is the longest that gives none.
STANDSTILL_SECONDS = 600.0


class UpdateMachine:
    """One for each device. `offer` and `reconnected` may be called from any thread.

    running runs artifacts and proving tests them (`agent.deployment.inference`). `start` gives it a thread of its own;
    where there is none, `power_on` is called once and `work` whenever something was offered, by one thread at a time.

    on_change is called with what is remembered, whenever that changed, and on_swap when another model decides.
    device_class is the one detected; the settings may name another.
    """

    def __init__(
        self,
        *,
        store: Store,
        delivery: Delivery,
        downloader: Downloader,
        provenance: Provenance,
        running: Runs,
        proving: Tests,
        reporter: Reporter,
        budget: Callable[[], Budget],
        device_class: Callable[[], DeviceClass],
        on_change: Callable[[Saved], None],
        on_swap: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._reporter = reporter
        self._running = running
        self._on_swap = on_swap
        self._kept = Kept(store, on_change)
        self._steps = Steps(
            store=store,
            delivery=delivery,
            downloader=downloader,
            provenance=provenance,
            budget=budget,
            device_class=lambda: DeviceClass(self._kept.saved.config.device_class or device_class()),
            rate=lambda: self._kept.saved.config.transfer_rate,
            interrupted=self._interrupted,
        )
        self._takeover = Takeover(
            store=store,
            kept=self._kept,
            running=running,
            proving=proving,
            reporter=reporter,
            interrupted=self._interrupted,
            pause=self._pause,
            on_swap=on_swap,
            clock=clock,
        )
        self._power_on = PowerOn(
            kept=self._kept,
            running=running,
            proving=proving,
            takeover=self._takeover,
            move=self._move,
            interrupted=self._interrupted,
        )
        self._offered: Desired | None = None
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="deployment", daemon=True)
        self.pulse = Pulse("deployment", STANDSTILL_SECONDS, self._thread)
        store.on_progress = self.pulse.go_on

    # --- Any thread ---

    @property
    def saved(self) -> Saved:
        """What is remembered now."""
        return self._kept.saved

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float = 1.0) -> None:
        """Leave the step that is under way; the next boot repeats it."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread.ident is None:  # it has none: whoever works calls `leave`
            return
        self._thread.join(seconds)
        if self._thread.is_alive():  # it loads a model, which nothing can interrupt; the process ends over it
            self.leave()

    def offer(self, desired: Desired) -> None:
        """A desired state came. Only the newest counts."""
        with self._wake:
            if self._offered is None or desired.version > self._offered.version:
                self._offered = desired
                self._wake.notify_all()

    def use_threads(self, threads: int, seconds: float = 20.0) -> bool:
        """Let decisions have so many threads. Whether they have them, after at most `seconds`; they may come later."""
        self._running.threads = threads
        with self._wake:
            self._wake.notify_all()
            if self._thread.is_alive():
                self._wake.wait_for(lambda: self._stopping or not self._running.behind, seconds)
        return self._running.in_step

    def be_lean(self, lean: bool) -> None:
        """Whether to let go, after each load, of what only the load needed."""
        self._running.lean = lean

    @property
    def threads(self) -> int:
        """How many a decision is to have now."""
        return self._running.threads

    def memory_of_active(self) -> int:
        """Bytes that what runs takes when it is loaded a second time; 0 where nothing runs."""
        return self._running.memory if self._running.anything else 0

    def reconnected(self) -> None:
        """Say again how the last attempt stands: the report may have been lost with the link."""
        self._reporter.report(self._kept.saved.attempt)

    # --- The machine's own thread ---

    def _interrupted(self) -> bool:
        """Whether the step under way should be left. Settings and threads that came are taken on the way."""
        self.pulse.beat()
        self._rethread()
        with self._wake:
            offered, stopping = self._offered, self._stopping
        if offered is None or records.turns_away(self._kept.saved, offered):
            return stopping or offered is not None
        before = self._kept.saved.attempt
        self._converge()  # it may find something newer still
        return stopping or self._kept.saved.attempt != before

    def _run(self) -> None:
        self.power_on()
        while not self._stopping:
            self.work()
            self._wait()
        self.leave()

    def power_on(self) -> None:
        """Take up what the last boot left."""
        self.pulse.beat()
        try:
            self._power_on.resume()
        except Exception:
            log.exception("the saved state could not be resumed")
        try:
            self._power_on.measure_again()
        except Exception:
            log.exception("the runtimes could not be measured")

    def work(self) -> None:
        """Bring the device to what is desired now; ends when there is nothing left to do."""
        while not self._stopping:
            self.pulse.beat()
            try:
                self._rethread()
                self._converge()
                attempt = self._kept.saved.attempt
                if attempt is None or not attempt.open:
                    return
                self._step(attempt)
            except Exception as problem:
                full = isinstance(problem, OSError)
                log.error("no step: %s; trying again in %.0f s", problem, _PAUSE_SECONDS, exc_info=not full)
                with self._wake:
                    self._wake.wait_for(lambda: self._stopping, _PAUSE_SECONDS)

    def _wait(self) -> None:
        self.pulse.rest()
        with self._wake:
            self._wake.wait_for(lambda: self._stopping or self._offered is not None or self._running.behind)

    def _pause(self, seconds: float) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._stopping or self._offered is not None, seconds)

    def _rethread(self) -> None:
        if self._running.behind:
            self._running.rethread()
            self._on_swap()
            with self._wake:
                self._wake.notify_all()

    def leave(self) -> None:
        """Told to stop: what is under way did not crash, and neither did the load of the active artifact."""
        attempt = self._kept.saved.attempt
        if attempt is not None and attempt.open:
            attempt = msgspec.structs.replace(attempt, clean=True)
        self._kept.try_save(attempt=attempt, loads=0)

    def _converge(self) -> None:
        """Take the newest desired state. It stays on offer until the disk has it."""
        desired = self._offered
        if desired is None:
            return
        before = self._kept.saved.attempt
        turning = records.turns_away(self._kept.saved, desired)
        self._kept.save(records.converge(self._kept.saved, desired))
        with self._wake:
            if self._offered is desired:
                self._offered = None
        if turning:
            if before is not None and before.state is State.WATCHING and self._kept.saved.attempt != before:
                self._running.end_watch()
            attempt = self._kept.saved.attempt
            log.info("desired state %d: %s", desired.version, desired.manifest[:12] or "nothing")
            self._reporter.report(attempt)
            if attempt is None or not attempt.open:
                self._kept.tidy(attempt)

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

        def tell(words: str, share: float) -> None:
            self._reporter.progress(attempt, words, share)

        match attempt.state:
            case State.NOTIFIED:
                return steps.check(attempt, self._kept.artifacts, self._kept.saved.newest, tell)
            case State.DOWNLOADING:
                return steps.download(attempt, tell)
            case State.VERIFIED:
                return steps.verify(attempt)
            case State.INSTALLING:
                return steps.install(attempt)
            case State.SELF_TESTING:
                return self._takeover.self_test(attempt)
            case _:
                return self._takeover.watch(attempt)

    def _move(self, outcome: Outcome) -> None:
        """The transition and its effects: remember it, act on it, report it."""
        old = self._kept.saved.attempt
        assert old is not None  # noqa: S101 -- only an attempt has steps
        state = after(old.state, outcome.event)
        evidence = {**old.evidence, **outcome.evidence}
        attempt = msgspec.structs.replace(old, state=state, reason=outcome.reason[:1000], evidence=evidence)
        log.info("deployment %s: %s -> %s %s", attempt.deployment_id or "-", old.state, state, attempt.reason)
        if state in (State.FAILED, State.REJECTED):
            self._kept.tidy(attempt)  # first: on a disk that is full, this makes the room to remember anything
            self._kept.save(attempt=attempt)
        elif state is State.ACTIVE:
            self._kept.save(records.proven(self._kept.saved), attempt=attempt)
        elif state is State.ROLLED_BACK:
            self._takeover.roll_back(attempt)
        else:
            self._kept.save(attempt=attempt)
        self._reporter.report(attempt)
        if not attempt.open:
            self._kept.tidy(attempt)
