"""Runs a model: an observation in and a chunk of actions out, or tensors in and tensors out.

Usable alone, without the rest of the agent.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from agent.inference import data_cache, runtimes
from agent.inference.budgets import Budgets, budgets
from agent.inference.data_cache import DataCache
from agent.inference.meter import Meter, Timing
from agent.wire.messages import Config

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


class LateError(RuntimeError):
    """The request's deadline passed while it waited for others; nothing was run."""


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
    backend: runtimes.Backend = runtimes.DEFAULT
    threads: int = 1


def load(
    folder: Path,
    artifact: str = "",
    threads: int = 1,
    deadline_ms: float | None = None,
    name: str = "",
    version: str = "1",
    backend: runtimes.Backend = runtimes.DEFAULT,
) -> LoadedModel:
    """Load `model.onnx` of a folder, and `card.json` where there is one, and warm the model up.

    Without a card it warms up on the first of the folder's golden observations. `name` is by default the card's, or
    the folder's. Raises CardError, GoldenError, InputError, ModelError or OSError, with a sentence.
    """
    runtime = runtimes.load(folder / "model.onnx", threads, backend)
    path = folder / "card.json"
    if not path.exists():
        from agent.inference import golden

        feeds = golden.read(folder / "golden.npz").feeds(0)
        runtimes.check(feeds, runtime.inputs)
        for _ in range(WARM_UP):
            runtime.run(feeds)
        limit = DEADLINE_MS if deadline_ms is None else deadline_ms
        return LoadedModel(artifact, name or folder.name, version, None, None, runtime, limit, backend, threads)
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
    return LoadedModel(artifact, name or card.name, version, card, codec, runtime, limit, backend, threads)


class InferenceEngine:
    """Decides with the model it was given last. Requests run one after the other; a swap happens between two.

    Any thread may ask. What the cache knows is answered without waiting for the requests before it.
    """

    def __init__(self, cache: DataCache | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self._lock = threading.Lock()
        self._model: LoadedModel | None = None
        self._cache = cache
        self._clock = clock
        self._config = Config()
        self._budgets = Budgets()
        self._meters: tuple[Meter, ...] = ()

    @property
    def model(self) -> LoadedModel | None:
        return self._model

    @property
    def budgets(self) -> Budgets:
        """What a decision of the model in place may take."""
        return self._budgets

    def configure(self, config: Config) -> None:
        """The operator's budgets, from the next request on."""
        with self._lock:
            self._config = config
            self._set_budgets()

    def swap(self, model: LoadedModel | None, watched_by: Meter | None = None) -> None:
        """Use `model` from the next request on; one that is running ends with the old one.

        `watched_by` counts from the first decision of the new model.
        """
        with self._lock:
            self._model = model
            self._set_budgets()
            if watched_by is not None:
                self._meters = (*self._meters, watched_by)
            if self._cache is not None:
                self._cache.clear()

    def _set_budgets(self) -> None:
        model = self._model
        self._budgets = budgets(self._config, model.card, model.deadline_ms) if model is not None else Budgets()

    def use_cache(self, cache: DataCache | None) -> None:
        """Keep decisions in `cache` from the next request on, or keep none."""
        with self._lock:
            self._cache = cache

    def attach(self, meter: Meter) -> None:
        """Count into `meter` from the next request on."""
        with self._lock:
            self._meters = (*self._meters, meter)

    def detach(self, meter: Meter) -> None:
        with self._lock:
            self._meters = tuple(each for each in self._meters if each is not meter)

    def process(
        self,
        image: "Observation | NDArray[np.uint8]",
        instruction: str = "",
        state: "Floats | None" = None,
        *,
        only: LoadedModel | None = None,
        within_ms: float | None = None,
        asked_elsewhere: float = 0.0,
    ) -> "Floats":
        """Actions float32 [chunk, size] within the card's limits, for an RGB image uint8 [height, width, 3].

        What was seen may also come as one Observation; a state that is not given is zeros. within_ms is the request's
        deadline, from now: one that still waits by then is refused. asked_elsewhere: milliseconds that it has spent
        already, asking the server in vain.

        Raises NoModelError, CardError (the observation does not fit, or the model has no card), ModelError,
        FloatingPointError for NaN, or LateError; SwappedError when `only` is given and is not the model in place.
        """
        asked = self._clock()
        known, key = self._look_up(image, instruction, state, only, asked, asked_elsewhere)
        if known is not None:
            return known

        def decide(model: LoadedModel, start: float) -> "tuple[Floats, Timing]":
            codec = _codec(model)
            feeds = codec.feeds(codec.observation(image, instruction, state))
            fed = self._clock()
            outputs = model.runtime.run(feeds)
            computed = self._clock()
            name = codec.card.actions.output
            if name not in outputs:
                raise runtimes.ModelError(f"The model has no output {name!r}; the policy card names it.")
            actions = codec.actions(outputs[name])
            done = self._clock()
            if key is not None and self._cache is not None and model is key.model:
                self._cache.decided(done - start)
                self._cache.put(key.digest, actions)
            return actions, _timing(asked, start, fed, computed, done, key.seconds if key else 0.0)

        return self._request(decide, asked, only, within_ms, asked_elsewhere)

    def infer(
        self,
        feeds: "Arrays",
        *,
        only: LoadedModel | None = None,
        within_ms: float | None = None,
        asked_elsewhere: float = 0.0,
    ) -> "Answers":
        """All outputs by name, for tensors as the model itself takes them; asked anew each time, never the cache.

        Raises NoModelError, InputError (names, dtypes, shapes, or NaN in an input), ModelError, or FloatingPointError
        for NaN and infinity in an output; LateError and SwappedError as `process` does.
        """
        asked = self._clock()

        def compute(model: LoadedModel, start: float) -> "tuple[Answers, Timing]":
            from agent.inference import finite

            runtimes.check(feeds, model.runtime.inputs)
            finite.check_inputs(feeds)
            fed = self._clock()
            outputs = model.runtime.run(feeds)
            computed = self._clock()
            finite.check_outputs(outputs)
            return outputs, _timing(asked, start, fed, computed, self._clock())

        return self._request(compute, asked, only, within_ms, asked_elsewhere)

    def decided_elsewhere(self, timing: Timing, deadline_ms: float) -> None:
        """Count a decision that the server made for this device."""
        over = self._budgets.broken(timing)
        for meter in self._meters:
            if not meter.local_only:
                meter.decided(timing, late=timing.total > deadline_ms, over=over)

    def count(self, **amounts: int) -> None:
        """Add to every meter's counters."""
        for meter in self._meters:
            meter.count(**amounts)

    def _request(
        self,
        decide: "Callable[[LoadedModel, float], tuple[T, Timing]]",
        asked: float,
        only: LoadedModel | None,
        within_ms: float | None,
        asked_elsewhere: float,
    ) -> T:
        """One request, once those before it are through."""
        wait = -1 if within_ms is None else max(0.0, within_ms / 1e3 - (self._clock() - asked))
        in_time = self._lock.acquire(timeout=wait)
        try:
            model, meters, limits = self._model, self._meters, self._budgets
            waited = 1e3 * (self._clock() - asked)
            if not in_time or (within_ms is not None and waited > within_ms):
                for meter in meters:
                    meter.count(refused=1)
                raise LateError("The request's deadline passed while it waited for those before it; nothing was run.")
            if model is None:
                raise NoModelError("There is no model on this device yet; roll one out to it.")
            if only is not None and model is not only:
                raise SwappedError("Another model is in place by now.")
            try:
                answer, timing = decide(model, self._clock())
            except Exception as problem:
                not_finite = isinstance(problem, FloatingPointError)
                for meter in meters:
                    meter.count(errors=not not_finite, not_finite=not_finite)
                raise
        finally:
            if in_time:
                self._lock.release()
        _count(meters, timing, model, limits, asked_elsewhere)
        return answer

    def _look_up(
        self,
        image: "Observation | NDArray[np.uint8]",
        instruction: str,
        state: "Floats | None",
        only: LoadedModel | None,
        asked: float,
        asked_elsewhere: float,
    ) -> "tuple[Floats | None, _Key | None]":
        """What the cache knows, else the key under which to keep the answer; neither when it was not asked."""
        cache, model = self._cache, self._model
        if cache is None or model is None or model.codec is None or (only is not None and only is not model):
            return None, None
        if not cache.pays():
            return None, None
        begun = time.thread_time()  # what it costs, however busy the device is beside it
        observation = model.codec.observation(image, instruction, state)
        if observation.image.dtype.kind not in "ui" or observation.state.dtype.kind != "f":
            return None, None  # it does not fit the card, which says so
        digest = data_cache.key_of(observation, f"{id(model)} {model.artifact}")
        known = cache.get(digest)
        seconds = self._clock() - asked
        cache.spent(time.thread_time() - begun, hit=known is not None)
        for meter in self._meters:
            meter.count(cache_lookups=1, cache_hits=known is not None)
        if known is not None:
            _count(self._meters, Timing(preprocess=1e3 * seconds), model, self._budgets, asked_elsewhere)
        return known, _Key(digest, model, seconds)


@dataclass(frozen=True, slots=True)
class _Key:
    """Where the answer of this model is to be kept, and the seconds that it took to find out."""

    digest: bytes
    model: LoadedModel
    seconds: float


def _codec(model: LoadedModel) -> "Codec":
    if model.codec is None:
        from agent.inference.policy_card import CardError

        raise CardError(
            f"The model {model.name} has no policy card, so nothing says how an observation becomes its inputs. "
            "Send it tensors, or upload it with a policy card."
        )
    return model.codec


def _count(
    meters: Sequence[Meter], timing: Timing, model: LoadedModel, limits: Budgets, asked_elsewhere: float
) -> None:
    whole = replace(timing, network=asked_elsewhere) if asked_elsewhere else timing
    for meter in meters:
        told = timing if meter.local_only else whole
        meter.decided(told, late=told.total > model.deadline_ms, over=limits.broken(told))


def _timing(asked: float, start: float, fed: float, computed: float, done: float, looked_up: float = 0.0) -> Timing:
    """From the moments, in seconds. What looking up took was before the waiting, and is part of the preprocessing."""
    return Timing(
        queue=1e3 * (start - asked - looked_up),
        preprocess=1e3 * (fed - start + looked_up),
        compute=1e3 * (computed - fed),
        postprocess=1e3 * (done - computed),
    )
