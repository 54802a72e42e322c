"""Actions that are asked for ahead of time: the next chunk is decided while the present one is carried out.

    ahead = Ahead(engine)
    asked = ahead.ask(image, "grasp the red square", state)
    …                                # carry out the chunk before
    chunk = asked.result(timeout=1)  # there already, if a decision takes less time than a chunk

What it was decided on was seen before the chunk before was carried out, so the first rows are for what has been done
since: begin with the row for now. `Chunk.age` says how old the observation is.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.inference.inference_engine import LoadedModel, NoModelError, SwappedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from agent.inference.control_loop import Decider
    from agent.inference.policy_card import Floats, Observation


@dataclass(frozen=True, slots=True)
class Chunk:
    """Actions float32 [chunk, size]; seen and decided are moments of the clock, in seconds; model is who decided."""

    actions: "Floats"
    seen: float
    decided: float
    model: LoadedModel

    def age(self, now: float) -> float:
        """Seconds since what it was decided on was seen."""
        return now - self.seen


@dataclass(frozen=True, slots=True)
class _Request:
    image: "Observation | NDArray[np.uint8]"
    instruction: str
    state: "Floats | None"
    within_ms: float | None
    seen: float
    future: "Future[Chunk]"


class Ahead:
    """Asks an engine on a thread of its own, for one robot: one request waits at most, and a newer takes its place."""

    def __init__(self, engine: "Decider", clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: _Request | None = None
        self._stopped = False
        self._thread: threading.Thread | None = None

    def ask(
        self,
        image: "Observation | NDArray[np.uint8]",
        instruction: str = "",
        state: "Floats | None" = None,
        within_ms: float | None = None,
    ) -> "Future[Chunk]":
        """Returns at once. The future's result is a Chunk, or what `InferenceEngine.process` raises.

        One that was still waiting is cancelled: what is seen now is newer. Raises RuntimeError after `stop`.
        """
        future: Future[Chunk] = Future()
        with self._changed:
            if self._stopped:
                raise RuntimeError("It was stopped; make another one.")
            if self._waiting is not None:
                self._waiting.future.cancel()
            self._waiting = _Request(image, instruction, state, within_ms, self._clock(), future)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return future

    def stop(self, seconds: float = 1.0) -> None:
        """Ends after the decision that is under way; one that waits is cancelled."""
        with self._changed:
            self._stopped = True
            if self._waiting is not None:
                self._waiting.future.cancel()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._waiting is not None)
                request, self._waiting = self._waiting, None
            if self._stopped or request is None:
                return
            if request.future.set_running_or_notify_cancel():
                self._decide(request)

    def _decide(self, request: _Request) -> None:
        try:
            request.future.set_result(self._chunk(request))
        except Exception as problem:
            request.future.set_exception(problem)

    def _chunk(self, request: _Request) -> Chunk:
        while True:
            model = self._engine.model
            if model is None:
                raise NoModelError("There is no model on this device yet; roll one out to it.")
            left = request.within_ms
            if left is not None:
                left = max(0.0, left - 1e3 * (self._clock() - request.seen))
            with contextlib.suppress(SwappedError):  # the one in place by now is asked
                actions = self._engine.process(
                    request.image, request.instruction, request.state, only=model, within_ms=left
                )
                return Chunk(actions, request.seen, self._clock(), model)
