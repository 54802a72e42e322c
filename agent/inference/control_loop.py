"""Acts by itself: observe, decide, act, at the policy card's rate. Needs no network.

A model without a policy card cannot act by itself: it answers the tensors that programs send it, and the loop is idle.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from agent.inference.inference_engine import InferenceEngine, LoadedModel
from agent.inference.meter import Meter

if TYPE_CHECKING:  # it needs numpy, and an agent without a model does not
    from agent.inference.policy_card import Card
    from agent.source import Source

log = logging.getLogger(__name__)

#: Seconds between two looks for a model while there is none.
_IDLE_SECONDS = 0.2
#: The same trouble is logged once in this many seconds.
_QUIET_SECONDS = 60.0


class ControlLoop(threading.Thread):
    """Runs the source named `module:factory` with whatever model the engine has.

    `on_idle(False)` is called when it begins to act, `on_idle(True)` when it has nothing to act with.
    """

    def __init__(
        self,
        engine: InferenceEngine,
        source: str,
        seed: int,
        meter: Meter,
        on_idle: Callable[[bool], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="control", daemon=True)
        self._engine = engine
        self._name = source
        self._seed = seed
        self._meter = meter
        self._on_idle = on_idle
        self._clock = clock
        self._stop_event = threading.Event()
        self._source: Source | None = None
        self._card: Card | None = None
        self._without_card: LoadedModel | None = None
        self._last_trouble = ("", 0.0)

    def stop(self, seconds: float = 1.0) -> None:
        """Ends after the decision that is under way: an interpreter that ends below the runtime's feet aborts."""
        self._stop_event.set()
        if self.is_alive():
            self.join(seconds)

    def run(self) -> None:
        due = self._clock()
        idle = True
        while not self._stop_event.is_set():
            model = self._engine.model
            card = model.card if model is not None else None
            if idle != (card is None):
                idle = card is None
                self._on_idle(idle)
            if card is None:
                self._explain(model)
                self._stop_event.wait(_IDLE_SECONDS)
                continue
            if due > self._clock():
                self._stop_event.wait(due - self._clock())
                continue
            # A late decision is not caught up with: a burst of old ones would help nobody.
            due = max(due, self._clock() - 1 / card.rate_hz) + 1 / card.rate_hz
            self._step(card)

    def _explain(self, model: LoadedModel | None) -> None:
        """Why nothing is done with a model that is there; once for each."""
        if model is not None and model is not self._without_card:
            log.warning(
                "the model %s has no policy card, so this device does not act by itself: programs send it tensors, "
                "through the local API",
                model.name,
            )
        self._without_card = model

    def _step(self, card: "Card") -> None:
        try:
            source = self._source_for(card)
            observation = source.observe()
        except Exception as problem:
            self._meter.count(errors=1)
            self._trouble(f"the observation source {self._name} failed: {type(problem).__name__}: {problem}")
            return
        try:
            actions = self._engine.process(observation)
        except Exception as problem:  # the engine has counted it
            self._trouble(f"no decision: {problem}")
            return
        try:
            finished = source.act(actions)
        except Exception as problem:
            self._meter.count(errors=1)
            self._trouble(f"the observation source {self._name} could not act: {type(problem).__name__}: {problem}")
            return
        if finished.episodes:
            self._meter.count(episodes=finished.episodes, successes=finished.successes)

    def _source_for(self, card: "Card") -> "Source":
        """The source, made again when another card comes: it says what the source has to deliver."""
        if self._source is None or self._card != card:
            from agent import source

            self._source = source.load(self._name)(card, self._seed)
            self._card = card
        return self._source

    def _trouble(self, words: str) -> None:
        last, at = self._last_trouble
        if words != last or self._clock() - at > _QUIET_SECONDS:
            self._last_trouble = (words, self._clock())
            log.warning("%s", words)
