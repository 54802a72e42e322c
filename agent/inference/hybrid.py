"""Decides where a request is decided: here, or in hybrid mode on the server.

To the server goes what is marked heavy, and what is over the local budget: no model fits here, the decisions of the
last seconds took longer than the deadline, or the device does less to stay within its budgets. The server has what the
deadline leaves after the time that a decision takes here, so that a late answer can still be replaced in time. Late,
away, over quota or wrong: it is decided here.

In full and slim mode there is no `Remote`, and nothing that could be sent is even put together.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from agent.addresses import Web
from agent.inference.gate import Gate
from agent.inference.inference_engine import DEADLINE_MS, InferenceEngine, LoadedModel, NoModelError
from agent.inference.meter import Timing, percentile
from agent.inference.runtimes import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from agent.inference.policy_card import Floats, Observation
    from agent.inference.remote import Answer, Kind, Model, Remote, RemoteError
    from agent.inference.runtimes import Arrays

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Milliseconds kept for what lies between an answer and its use, and the least that it is worth asking in.
MARGIN_MS, LEAST_MS = 5.0, 2.0
#: Decisions that the local time is taken from, and for how many seconds each counts: what was slow may be fast again.
KEPT, KEPT_SECONDS = 50, 30.0


class LocalTimes:
    """How long a decision takes here."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._times: deque[tuple[float, float]] = deque(maxlen=KEPT)

    def add(self, milliseconds: float) -> None:
        self._times.append((self._clock(), milliseconds))

    def expected(self) -> float:
        """Milliseconds that 95 % of the latest decisions did not exceed; 0 when there was none lately."""
        since = self._clock() - KEPT_SECONDS
        recent = [milliseconds for at, milliseconds in tuple(self._times) if at >= since]
        return percentile(recent, 0.95) if recent else 0.0

    def reserve(self, deadline_ms: float) -> float:
        """Milliseconds to keep for deciding here after all: a quarter more than it took; unknown, half."""
        known = [milliseconds for _, milliseconds in tuple(self._times)]
        return 1.25 * percentile(known, 0.95) + MARGIN_MS if known else deadline_ms / 2


class Hybrid:
    """An engine, and in hybrid mode a server behind it. Any thread may ask; `use` may be called at any time."""

    def __init__(self, engine: InferenceEngine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._times = LocalTimes(clock)
        self._remote: Remote | None = None

    @property
    def model(self) -> LoadedModel | None:
        return self._engine.model

    @property
    def on(self) -> bool:
        return self._remote is not None

    @property
    def ready(self) -> bool:
        """Whether there is a server to ask now."""
        remote = self._remote
        return remote is not None and remote.ready

    def use(self, make: "Callable[[], Remote] | None") -> None:
        """Ask the server that `make` leads to from now on; None: no server."""
        if (make is None) is (self._remote is None):
            return
        if make is None:
            old, self._remote = self._remote, None
            if old is not None:
                old.stop()
            log.info("no request goes to the server any more")
            return
        remote = make()
        remote.start()
        self._remote = remote
        log.info("heavy requests go to the server from now on")

    # --- Observations ---

    def process(
        self,
        image: "Observation | NDArray[np.uint8]",
        instruction: str = "",
        state: "Floats | None" = None,
        *,
        heavy: bool = False,
        only: LoadedModel | None = None,
        within_ms: float | None = None,
    ) -> "Floats":
        """As InferenceEngine.process, wherever it is decided."""
        model = only or self._engine.model
        if model is None or model.codec is None:
            return self._engine.process(image, instruction, state, only=only, within_ms=within_ms)  # which says so
        return self.decide(model.codec.observation(image, instruction, state), heavy, only, within_ms=within_ms)[0]

    def decide(
        self,
        observation: "Observation",
        heavy: bool = False,
        only: LoadedModel | None = None,
        gate: Gate | None = None,
        within_ms: float | None = None,
    ) -> "tuple[Floats, bool]":
        """The actions, and whether the server gave them. The gate may refuse to decide here, and hears how long it was.

        Raises as InferenceEngine.process does, and RefusedError.
        """
        model = only or self._engine.model
        began = self._clock()

        def here(spent: float) -> "Floats":
            left = _left(within_ms, spent)
            return self._engine.process(observation, only=only, within_ms=left, asked_elsewhere=spent)

        remote, until = self._server(model, heavy, began, gate, within_ms)
        if remote is None or model is None or model.card is None:
            return self._here(here, 0.0, gate), False
        from agent.inference import act
        from agent.inference.remote import RemoteError

        card = model.card
        try:
            body = act.encode(observation, card)
            encoded = self._clock()
            answer = self._ask(remote, "act", body, until, model)
            came = self._clock()
            try:
                actions = act.chunk(act.read_reply(answer.body), model, card)
            except ValueError as problem:
                raise remote.distrust(str(problem)) from problem
        except RemoteError as problem:
            spent = self._in_vain(problem, began)
            return self._here(here, spent, gate), False
        self._count((began, encoded, came, self._clock()), answer, model)
        return actions, True

    # --- Requests as they came to the local API ---

    def infer(
        self,
        feeds: "Arrays",
        only: LoadedModel,
        heavy: bool,
        body: bytes | bytearray,
        json_size: int | None,
        gate: Gate | None = None,
        within_ms: float | None = None,
    ) -> "Arrays | Answer":
        """As InferenceEngine.infer; or the server's answer to `body`, the request with these tensors."""
        answer, spent = self._forwarded("tensors", body, json_size, heavy, only, gate, within_ms)
        if answer is not None:
            return answer

        def here(lost: float) -> "Arrays":
            return self._engine.infer(feeds, only=only, within_ms=_left(within_ms, lost), asked_elsewhere=lost)

        return self._here(here, spent, gate)

    def without_model(self, kind: "Kind", body: bytes | bytearray, json_size: int | None = None) -> "Answer | None":
        """The server's answer to a request as it is, where no model is here. None when there is no server.

        Raises NoModelError, with what the server said.
        """
        return self._forwarded(kind, body, json_size, True, None)[0]

    # --- Within ---

    def _forwarded(
        self,
        kind: "Kind",
        body: bytes | bytearray,
        json_size: int | None,
        heavy: bool,
        model: LoadedModel | None,
        gate: Gate | None = None,
        within_ms: float | None = None,
    ) -> "tuple[Answer | None, float]":
        """The server's answer; None, and the milliseconds that were lost, when it is to be decided here."""
        began = self._clock()
        remote, until = self._server(model, heavy, began, gate, within_ms)
        if remote is None:
            return None, 0.0
        from agent.inference.remote import RemoteError

        try:
            answer = self._ask(remote, kind, body, until, model, json_size)
            came = self._clock()
            try:
                _check(kind, answer, model)
            except (ValueError, FloatingPointError) as problem:
                raise remote.distrust(str(problem)) from problem
        except RemoteError as problem:
            spent = self._in_vain(problem, began)
            if model is None:
                raise NoModelError(f"There is no model on this device, and {problem}.") from problem
            return None, spent
        self._count((began, began, came, self._clock()), answer, model)
        return answer, 0.0

    def _server(
        self, model: LoadedModel | None, heavy: bool, now: float, gate: Gate | None, within_ms: float | None
    ) -> "tuple[Remote | None, float]":
        """Whom to ask, and until when; None when the request stays here."""
        remote = self._remote
        if remote is None or not remote.ready:
            return None, now
        deadline = model.deadline_ms if model else DEADLINE_MS
        if within_ms is not None:
            deadline = min(deadline, within_ms)
        over = model is None or self._times.expected() > deadline or (gate is not None and not gate.open)
        left = deadline if over else deadline - self._times.reserve(deadline)
        if not (heavy or over) or left < LEAST_MS:
            return None, now
        return remote, now + left / 1e3

    def _ask(
        self,
        remote: "Remote",
        kind: "Kind",
        body: bytes | bytearray,
        until: float,
        model: LoadedModel | None,
        json_size: int | None = None,
    ) -> "Answer":
        named: Model = (model.name, model.version) if model else None
        return remote.ask(kind, body, until, named, json_size)

    def _here(self, decide: Callable[[float], T], spent: float, gate: Gate | None) -> T:
        if gate is not None:
            gate.check()
        began = self._clock()
        try:
            answer = decide(spent)
        finally:
            if gate is not None:
                gate.took(self._clock() - began)
        self._times.add(1e3 * (self._clock() - began))
        return answer

    def _in_vain(self, problem: "RemoteError", began: float) -> float:
        """Milliseconds that were lost."""
        log.debug("decided here: %s", problem)
        return 1e3 * (self._clock() - began)

    def _count(self, moments: tuple[float, float, float, float], answer: "Answer", model: LoadedModel | None) -> None:
        began, encoded, came, done = moments
        compute = min(answer.compute_ms, 1e3 * (came - encoded))
        timing = Timing(
            preprocess=1e3 * (encoded - began),
            compute=compute,
            postprocess=1e3 * (done - came),
            network=1e3 * (came - encoded) - compute,
        )
        self._engine.count(remote_answered=1)
        self._engine.decided_elsewhere(timing, model.deadline_ms if model else DEADLINE_MS)


def server(address: Web | None, device_id: str, secret: str, engine: InferenceEngine) -> "Callable[[], Remote] | None":
    """Makes the way to the server's inference; None where the settings name no server for it."""
    if address is None:
        return None

    def make() -> "Remote":
        from agent.inference.remote import Remote  # a device that never asks a server does not pay for it

        def model() -> "Model":
            return (engine.model.name, engine.model.version) if engine.model else None

        def sent(size: int) -> None:
            engine.count(remote_asked=1, remote_bytes=size)

        return Remote(address, device_id, secret, model, sent)

    return make


def _left(within_ms: float | None, spent: float) -> float | None:
    """Milliseconds until the request's own deadline, after those that were spent asking the server."""
    return None if within_ms is None else max(0.0, within_ms - spent)


def _check(kind: "Kind", answer: "Answer", model: LoadedModel | None) -> None:
    """Raises ValueError or FloatingPointError when the answer is none that `model` could have given."""
    if kind == "act":
        from agent.inference import act

        act.read_reply(answer.body)
        return
    from agent.inference import finite, open_inference

    reply, outputs = open_inference.read_reply(answer.body, answer.json_size)
    finite.check_outputs(outputs)
    if model is None:
        return
    if (reply.model_name, reply.model_version) != (model.name, model.version):
        raise ValueError(f"it is of {reply.model_name}@{reply.model_version}, not of {model.name}@{model.version}")
    for name, array in outputs.items():
        wanted = model.runtime.outputs.get(name)
        if wanted is None or array.dtype.name != wanted.dtype or not wanted.takes(array.shape):
            raise InputError(f"Its output {name[:80]!r} is {array.dtype.name} {list(array.shape)}, not {wanted}.")
