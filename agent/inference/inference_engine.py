"""Runs a model: an observation in and a chunk of actions out, or tensors in and tensors out.

Usable alone, without the rest of the agent.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from agent.inference import data_cache, runtimes
from agent.inference.data_cache import DataCache
from agent.inference.meter import Meter, Timing

if TYPE_CHECKING:  # numpy is imported with the first model, not with the agent
    import numpy as np
    from numpy.typing import NDArray

    from agent.inference.policy_card import Card, Codec, Floats, Observation
    from agent.inference.runtimes import Arrays

    Answers = dict[str, NDArray[np.generic]]

T = TypeVar("T")

#: Runs before a model counts as loaded: the first ones allocate.
WARM_UP = 2
#: Milliseconds that a decision may take where neither manifest nor policy card says otherwise.
DEADLINE_MS = 100.0


class NoModelError(RuntimeError):
    """There is no model to decide with yet."""


class SwappedError(RuntimeError):
    """The model that was to answer is not the one in place any more; nothing was run."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to run. artifact names it (a manifest's digest); deadline_ms is the longest a decision may take.

    card and codec are there together, or neither is: without a policy card a model takes and gives tensors only.
    """

    artifact: str
    name: str
    version: str
    card: "Card | None"
    codec: "Codec | None"
    runtime: runtimes.Runtime
    deadline_ms: float


def load(
    folder: Path,
    artifact: str = "",
    threads: int = 1,
    deadline_ms: float | None = None,
    name: str = "",
    version: str = "1",
) -> LoadedModel:
    """Load `model.onnx` of a folder, and `card.json` where there is one, and warm the model up.

    Without a card it warms up on the first of the folder's golden observations. `name` is by default the card's, or
    the folder's. Raises CardError, GoldenError, InputError, ModelError or OSError, with a sentence.
    """
    runtime = runtimes.load(folder / "model.onnx", threads)
    path = folder / "card.json"
    if not path.exists():
        from agent.inference import golden

        feeds = golden.read(folder / "golden.npz").feeds(0)
        runtimes.check(feeds, runtime.inputs)
        for _ in range(WARM_UP):
            runtime.run(feeds)
        limit = DEADLINE_MS if deadline_ms is None else deadline_ms
        return LoadedModel(artifact, name or folder.name, version, None, None, runtime, limit)
    from agent.inference import policy_card

    card = policy_card.read(path.read_bytes())
    codec = policy_card.Codec(card)
    if set(card.inputs) != set(runtime.inputs):
        raise policy_card.CardError(
            f"The policy card names the inputs {sorted(card.inputs)}, the model takes {sorted(runtime.inputs)}."
        )
    blank = codec.feeds(policy_card.blank(card))
    for _ in range(WARM_UP):
        with contextlib.suppress(runtimes.ModelError):  # a model need not understand an observation that shows nothing
            runtime.run(blank)
    limit = card.deadline_ms if deadline_ms is None else deadline_ms
    return LoadedModel(artifact, name or card.name, version, card, codec, runtime, limit)


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

    def process(self, observation: "Observation", only: LoadedModel | None = None) -> "Floats":
        """Actions float32 [chunk, size] within the card's limits.

        Raises NoModelError, CardError (the observation does not fit, or the model has no card), ModelError, or
        FloatingPointError for NaN; SwappedError when `only` is given and is not the model in place.
        """
        return self._request(lambda model, asked: self._decide(model, observation, asked), only)

    def infer(self, feeds: "Arrays", only: LoadedModel | None = None) -> "Answers":
        """All outputs by name, for tensors as the model itself takes them; asked anew each time, never the cache.

        Raises NoModelError, InputError (names, dtypes, shapes, or NaN in an input), ModelError, or FloatingPointError
        for NaN and infinity in an output; SwappedError as `process` does.
        """
        return self._request(lambda model, asked: self._compute(model, feeds, asked), only)

    def _request(
        self, decide: "Callable[[LoadedModel, float], tuple[T, Timing, bool | None]]", only: LoadedModel | None
    ) -> T:
        """One request under the lock. `decide` also says whether the cache knew it, None if it was not asked."""
        asked = self._clock()
        with self._lock:
            model, meters = self._model, self._meters
            if model is None:
                raise NoModelError("There is no model on this device yet; roll one out to it.")
            if only is not None and model is not only:
                raise SwappedError("Another model is in place by now.")
            try:
                answer, timing, hit = decide(model, asked)
            except Exception as problem:
                not_finite = isinstance(problem, FloatingPointError)
                for meter in meters:
                    meter.count(errors=not not_finite, not_finite=not_finite)
                raise
        for meter in meters:
            meter.decided(timing, late=timing.total > model.deadline_ms)
            if hit is not None:
                meter.count(cache_lookups=1, cache_hits=hit)
        return answer

    def _decide(
        self, model: LoadedModel, observation: "Observation", asked: float
    ) -> "tuple[Floats, Timing, bool | None]":
        start = self._clock()
        if model.card is None or model.codec is None:
            from agent.inference.policy_card import CardError

            raise CardError(
                f"The model {model.name} has no policy card, so nothing says how an observation becomes its inputs. "
                "Send it tensors, or upload it with a policy card."
            )
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
        return actions, _timing(asked, start, fed, computed, done), None if self._cache is None else False

    def _compute(self, model: LoadedModel, feeds: "Arrays", asked: float) -> "tuple[Answers, Timing, bool | None]":
        from agent.inference import finite

        start = self._clock()
        runtimes.check(feeds, model.runtime.inputs)
        finite.check_inputs(feeds)
        fed = self._clock()
        outputs = model.runtime.run(feeds)
        computed = self._clock()
        finite.check_outputs(outputs)
        return outputs, _timing(asked, start, fed, computed, self._clock()), None


def _timing(*moments: float) -> Timing:
    """From when it was asked, begun, fed, computed and done, in seconds."""
    return Timing(*(1e3 * (end - begin) for begin, end in pairwise(moments)))
