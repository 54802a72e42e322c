"""Runs a policy: one observation in, one chunk of actions out. Usable alone, without the rest of the agent."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent.inference import data_cache, runtimes
from agent.inference.data_cache import DataCache
from agent.inference.meter import Meter, Timing

if TYPE_CHECKING:  # numpy is imported with the first model, not with the agent
    from agent.inference.policy_card import Card, Codec, Floats, Observation

#: Runs before a model counts as loaded: the first ones allocate.
WARM_UP = 2


class NoModelError(RuntimeError):
    """There is no model to decide with yet."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to run. artifact names it (a manifest's digest); deadline_ms is the longest a decision may take."""

    artifact: str
    card: "Card"
    codec: "Codec"
    runtime: runtimes.Runtime
    deadline_ms: float


def load(folder: Path, artifact: str = "", threads: int = 1, deadline_ms: float | None = None) -> LoadedModel:
    """Load `model.onnx` and `card.json` of a folder, and warm the model up.

    Raises CardError or ModelError, both with a sentence.
    """
    from agent.inference import policy_card

    card = policy_card.read((folder / "card.json").read_bytes())
    codec = policy_card.Codec(card)
    runtime = runtimes.load(folder / "model.onnx", threads)
    if set(card.inputs) != runtime.inputs:
        raise policy_card.CardError(
            f"The policy card names the inputs {sorted(card.inputs)}, the model takes {sorted(runtime.inputs)}."
        )
    blank = codec.feeds(policy_card.blank(card))
    for _ in range(WARM_UP):
        with contextlib.suppress(runtimes.ModelError):  # a model need not understand an observation that shows nothing
            runtime.run(blank)
    return LoadedModel(artifact, card, codec, runtime, card.deadline_ms if deadline_ms is None else deadline_ms)


class InferenceEngine:
    """Decides with the model it was given last. Requests run one after the other; a swap happens between two."""

    def __init__(self, cache: DataCache | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self._lock = threading.Lock()
        self._model: LoadedModel | None = None
        self._cache = cache
        self._clock = clock
        self._meters: tuple[Meter, ...] = ()

    @property
    def model(self) -> LoadedModel | None:
        return self._model

    def swap(self, model: LoadedModel | None, watched_by: Meter | None = None) -> None:
        """Use `model` from the next request on; one that is running ends with the old one.

        `watched_by` counts from the first decision of the new model.
        """
        with self._lock:
            self._model = model
            if watched_by is not None:
                self._meters = (*self._meters, watched_by)
            if self._cache is not None:
                self._cache.clear()

    def attach(self, meter: Meter) -> None:
        """Count into `meter` from the next request on."""
        with self._lock:
            self._meters = (*self._meters, meter)

    def detach(self, meter: Meter) -> None:
        with self._lock:
            self._meters = tuple(each for each in self._meters if each is not meter)

    def process(self, observation: "Observation") -> "Floats":
        """Actions float32 [chunk, size] within the card's limits.

        Raises NoModelError, CardError (the observation does not fit), ModelError, or FloatingPointError for NaN.
        """
        asked = self._clock()
        with self._lock:
            model, meters = self._model, self._meters
            if model is None:
                raise NoModelError("There is no model on this device yet; roll one out to it.")
            try:
                actions, timing, hit = self._decide(model, observation, asked)
            except Exception as problem:
                not_finite = isinstance(problem, FloatingPointError)
                for meter in meters:
                    meter.count(errors=not not_finite, not_finite=not_finite)
                raise
        for meter in meters:
            meter.decided(timing, late=timing.total > model.deadline_ms)
            if self._cache is not None:
                meter.count(cache_lookups=1, cache_hits=hit)
        return actions

    def _decide(self, model: LoadedModel, observation: "Observation", asked: float) -> "tuple[Floats, Timing, bool]":
        start = self._clock()
        key = data_cache.key_of(observation, model.artifact) if self._cache is not None else b""
        known = self._cache.get(key) if self._cache is not None else None
        if known is not None:
            return known, Timing(queue=1e3 * (start - asked), preprocess=1e3 * (self._clock() - start)), True
        feeds = model.codec.feeds(observation)
        fed = self._clock()
        outputs = model.runtime.run(feeds)
        computed = self._clock()
        name = model.card.actions.output
        if name not in outputs:
            raise runtimes.ModelError(f"The model has no output {name!r}; the policy card names it.")
        actions = model.codec.actions(outputs[name])
        done = self._clock()
        if self._cache is not None:
            self._cache.put(key, actions)
        timing = Timing(
            *(1e3 * (end - begin) for begin, end in ((asked, start), (start, fed), (fed, computed), (computed, done)))
        )
        return actions, timing, False
