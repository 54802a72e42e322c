"""Acts by itself: observe, decide, act, at the policy card's rate or a share of it. Needs no network.

Ahead of time, the next chunk is decided while the present one is carried out, from what was seen before that; its first
rows, for what has been done since, are left out. So the robot never waits for a decision that takes less than a chunk,
and acts on what it saw one chunk earlier. That takes chunks of at least twice the rows that are carried out of each.

A model without a policy card cannot act by itself: it answers the tensors that programs send it, and the loop is idle.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from agent.inference.inference_engine import LoadedModel
from agent.inference.meter import Meter
from agent.pulse import Pulse

if TYPE_CHECKING:  # it needs numpy, and an agent without a model does not
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from agent.inference.ahead import Ahead, Chunk
    from agent.inference.policy_card import Card, Floats, Observation
    from agent.source import Source

log = logging.getLogger(__name__)

#: Seconds between two looks for a model while there is none.
_IDLE_SECONDS = 0.2
#: Seconds after which a decision that was asked for ahead of time is given up.
_DECISION_SECONDS = 60.0
#: The same trouble is logged once in this many seconds.
_QUIET_SECONDS = 60.0
#: Seconds after which a look, a decision and its carrying out have come to a standstill.
STANDSTILL_SECONDS = 120.0


class Decider(Protocol):
    """Who decides: an InferenceEngine, or a Hybrid around it."""

    @property
    def model(self) -> LoadedModel | None: ...

    def process(
        self,
        image: "Observation | NDArray[np.uint8]",
        instruction: str = "",
        state: "Floats | None" = None,
        *,
        only: LoadedModel | None = None,
        within_ms: float | None = None,
    ) -> "Floats": ...


class ControlLoop(threading.Thread):
    """Runs the source of that name (`agent.source`) with whatever model the engine has.

    `on_idle(False)` is called when it begins to act, `on_idle(True)` when it has nothing to act with.
    """

    def __init__(
        self,
        engine: Decider,
        source: str,
        seed: int,
        meter: Meter,
        on_idle: Callable[[bool], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
        instruction: str = "",
        ahead: bool = False,
    ) -> None:
        super().__init__(name="control", daemon=True)
        self.pulse = Pulse("control", STANDSTILL_SECONDS, self)
        self._wait = wait
        self._instruction = instruction
        self._ahead = _ahead(engine, clock) if ahead else None
        self._asked: Future[Chunk] | None = None
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
        self._pace = 1.0

    @property
    def acts(self) -> bool:
        """Whether it has something to act with."""
        model = self._engine.model
        return model is not None and model.card is not None

    def set_pace(self, share: float) -> None:
        """Act at this share (above 0, at most 1) of the policy card's rate, from the next decision on."""
        self._pace = share

    def stop(self, seconds: float = 1.0) -> None:
        """Ends after the decision that is under way: an interpreter that ends below the runtime's feet aborts."""
        self._stop_event.set()
        if self.is_alive():
            self.join(seconds)
        if self._ahead is not None:
            self._ahead.stop(seconds)

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
                self.pulse.rest()
                self._wait(self._stop_event, _IDLE_SECONDS)
                continue
            if due > self._clock():
                self.pulse.rest()
                self._wait(self._stop_event, due - self._clock())
                continue
            self.pulse.beat()
            # A late decision is not caught up with: a burst of old ones would help nobody.
            period = 1 / (card.rate_hz * self._pace)
            due = max(due, self._clock() - period) + period
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
            actions = self._decision(observation, card)
        except Exception as problem:  # the engine has counted it
            self._asked = None
            self._trouble(f"no decision: {problem}")
            return
        try:
            finished = source.act(actions)
        except Exception as problem:
            self._asked = None
            self._meter.count(errors=1)
            self._trouble(f"the observation source {self._name} could not act: {type(problem).__name__}: {problem}")
            return
        if finished.episodes:
            self._asked = None  # what was seen of the last one says nothing about the next
            self._meter.count(episodes=finished.episodes, successes=finished.successes)

    def _decision(self, observation: "Observation", card: "Card") -> "Floats":
        """The rows to carry out now: decided now, or asked for while the rows before were carried out."""
        execute = card.actions.execute
        if self._ahead is None or card.actions.chunk < 2 * execute:
            return self._engine.process(observation, within_ms=card.deadline_ms)
        before, self._asked = self._asked, self._ahead.ask(observation)
        if before is not None:
            chunk = before.result(_DECISION_SECONDS)
            if chunk.model.card == card:
                self._meter.begun(1e3 * chunk.age(self._clock()))
                return chunk.actions[execute:]
        return self._asked.result(_DECISION_SECONDS).actions

    def _source_for(self, card: "Card") -> "Source":
        """The source, made again when another card comes: it says what the source has to deliver."""
        if self._source is None or self._card != card:
            from agent import source

            self._source = source.load(self._name, self._instruction)(card, self._seed)
            self._card = card
            if self._ahead is not None and card.actions.chunk < 2 * card.actions.execute:
                log.warning(
                    "decisions are not asked for ahead of time: the policy card's %d rows are less than twice the %d "
                    "that are carried out",
                    card.actions.chunk,
                    card.actions.execute,
                )
        return self._source

    def _trouble(self, words: str) -> None:
        last, at = self._last_trouble
        if words != last or self._clock() - at > _QUIET_SECONDS:
            self._last_trouble = (words, self._clock())
            log.warning("%s", words)


def _ahead(engine: Decider, clock: Callable[[], float]) -> "Ahead":
    from agent.inference.ahead import Ahead  # only a loop that uses it pays for it

    return Ahead(engine, clock)
