"""The local API for the robot's own programs: the Open Inference Protocol v2, `/act`, `/metrics`, `/healthz`, `/idle`.

On loopback or a unix socket only. Imported only where the settings ask for it; numpy comes with the first model.
Nothing of an observation is logged.
"""

import hmac
import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

import msgspec

from agent import __version__
from agent.addresses import Listen
from agent.inference import metrics
from agent.inference.gate import Gate, RefusedError
from agent.inference.http_message import HttpError, Reply, Request
from agent.inference.http_server import HttpServer, Limits
from agent.inference.hybrid import Hybrid
from agent.inference.inference_engine import InferenceEngine, LateError, LoadedModel, NoModelError, SwappedError
from agent.inference.listening import is_loopback, listening
from agent.inference.meter import Meter
from agent.inference.runtimes import InputError, ModelError
from agent.wire.messages import Restraint
from agent.wire.restraints import sentence

if TYPE_CHECKING:
    from agent.inference.remote import Answer
    from agent.inference.runtimes import Arrays

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Bytes of JSON in one request, to /act (an image in base64) and with tensors. Raw ones are bounded by `Limits.body`.
MAX_ACT, MAX_JSON = 16 * 1024**2, 4 * 1024**2
#: JSON beyond this is decoded one request after the other: as Python's numbers it takes up to 16 times its size.
LARGE_JSON = 256 * 1024
#: Seconds between two attempts to listen where something else does.
RETRY_SECONDS = 10.0
_MODEL_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/ready|/infer)?")


class Idle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """idle: nothing depends on the next decision, so this is a good moment to change something."""

    idle: bool


class LocalApi:
    """Answers on `where` from `start` to `stop`.

    on_idle is told what programs said at /idle. A token, where one is set, has to come with every request. hybrid may
    ask a server; without it, the engine alone decides. The gate may refuse what would run the model. restraints gives
    what the device does less of now.
    """

    def __init__(
        self,
        engine: InferenceEngine,
        where: Listen,
        token: str = "",
        on_idle: Callable[[bool], None] = lambda _: None,
        limits: Limits | None = None,
        hybrid: Hybrid | None = None,
        gate: Gate | None = None,
        restraints: Callable[[], Sequence[Restraint]] = tuple,
    ) -> None:
        self._engine = engine
        self._hybrid = hybrid or Hybrid(engine)
        self._gate = gate or Gate()
        self._restraints = restraints
        self._where = where
        self._token = token.encode()
        self._on_idle = on_idle
        self._limits = limits or Limits()
        self._meter = Meter()
        self._replies: Counter[int] = Counter()
        self._large = threading.Lock()
        self._counting = threading.Lock()
        self._port = 0
        self._stop_event = threading.Event()
        self._server: HttpServer | None = None
        self._starter = threading.Thread(target=self._listen, name="local-api-start", daemon=True)
        self._exact: Mapping[tuple[str, str], Callable[[Request], Reply]] = {
            ("GET", "/healthz"): self._health,
            ("GET", "/metrics"): self._metrics,
            ("POST", "/act"): self._act,
            ("POST", "/idle"): self._say_idle,
            ("GET", "/v2"): self._describe_server,
            ("GET", "/v2/health/live"): lambda _: Reply(200),
            ("GET", "/v2/health/ready"): lambda _: Reply(200 if self._engine.model else 400),
        }

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before that, and on a unix socket."""
        return self._port

    def start(self) -> None:
        self._engine.attach(self._meter)
        self._starter.start()

    def stop(self, seconds: float = 1.0) -> None:
        self._stop_event.set()
        self._starter.join(seconds)
        if self._server is not None:
            self._server.stop(seconds)
            if self._where.path is not None:
                self._where.path.unlink(missing_ok=True)

    def _listen(self) -> None:
        """A port that is taken must not keep the device from its updates: said once, and tried again."""
        said = ""
        while not self._stop_event.is_set():
            try:
                listener = listening(self._where)
            except OSError as problem:
                words = f"{problem.strerror or problem}"
                if words != said:
                    said = words
                    log.error("the local API cannot listen on %s: %s; it tries again", self._where, words)
                self._stop_event.wait(RETRY_SECONDS)
                continue
            self._server = HttpServer(
                listener, answer=self._answer, admit=self._admit, refuse=self._refuse, limits=self._limits
            )
            self._port = listener.getsockname()[1] if self._where.path is None else 0
            self._server.start()
            log.info("the local API listens on %s", replace(self._where, port=self._port))
            return

    # --- Every request ---

    def _admit(self, request: Request) -> None:
        """By the head alone: is it a program of this device, may it, and is its body one that is taken?"""
        headers = request.headers
        if self._token and not hmac.compare_digest(
            headers.get("authorization", "").encode("latin-1"), b"Bearer " + self._token
        ):
            raise HttpError(401, "The local API wants its token: Authorization: Bearer …")
        # A page in a browser on this device is none of its programs: it sends an Origin, or a name of its own as Host.
        if "origin" in headers:
            raise HttpError(403, "The local API answers programs, not pages in a browser.")
        if self._where.path is None and not is_loopback(headers.get("host", "")):
            raise HttpError(403, "The Host is not this device. Address the local API as 127.0.0.1 or localhost.")
        if request.method not in ("GET", "POST"):
            raise HttpError(405, f"The local API takes GET and POST, not {request.method[:20]}.")
        if headers.get("content-encoding", "identity") != "identity":
            raise HttpError(415, "A compressed body is not taken. Send it as it is.")
        if request.method == "POST" and request.path.partition("?")[0].rstrip("/").endswith(("/act", "/infer")):
            try:
                self._gate.check()
            except RefusedError as problem:
                if not self._hybrid.ready:  # else a server may decide in its stead
                    raise HttpError(503, str(problem)) from problem

    def _answer(self, request: Request) -> Reply:
        try:
            reply = self._route(request)
        except (NoModelError, RefusedError) as problem:
            raise HttpError(503, str(problem)) from problem
        except LateError as problem:
            raise HttpError(504, str(problem)) from problem
        except InputError as problem:
            raise HttpError(400, str(problem)) from problem
        except (ModelError, FloatingPointError) as problem:
            raise HttpError(500, str(problem)) from problem
        self._count(reply.status)
        return reply

    def _count(self, status: int) -> None:
        with self._counting:
            self._replies[status] += 1

    def _refuse(self, problem: HttpError) -> Reply:
        self._count(problem.status)
        headers = {401: {"WWW-Authenticate": "Bearer"}, 405: {"Allow": "GET, POST"}, 503: {"Retry-After": "1"}}
        return _json({"error": str(problem)}, problem.status, headers.get(problem.status, {}))

    def _route(self, request: Request) -> Reply:
        path = request.path.partition("?")[0]
        if len(path) > 1:
            path = path.rstrip("/")
        found = self._exact.get((request.method, path))
        if found is not None:
            return found(request)
        match = _MODEL_PATH.fullmatch(path)
        wanted = "POST" if match and match[3] == "/infer" else "GET"
        if match is None or request.method != wanted:
            others = [method for method, each in self._exact if each == path] or ([wanted] if match else [])
            if others:
                raise HttpError(405, f"{path[:200]} takes {others[0]}.")
            raise HttpError(404, f"There is nothing at {path[:200]}.")
        name, version = unquote(match[1]), unquote(match[2]) if match[2] else None
        if match[3] == "/infer":
            return self._infer(request, name, version)
        model = self._named(name, version)
        if match[3] == "/ready":
            return Reply(200)
        from agent.inference import open_inference

        return _json(open_inference.model_metadata(model))

    # --- What it answers ---

    def _infer(self, request: Request, name: str, version: str | None) -> Reply:
        body = request.body
        size = _json_size(request, MAX_JSON)
        declared = size if "inference-header-content-length" in request.headers else None
        if self._engine.model is None and (answer := self._hybrid.without_model("tensors", body, declared)):
            return self._relayed(answer, name, version)
        self._named(name, version)
        from agent.inference import open_inference

        with self._large if size > LARGE_JSON else nullcontext():
            wish, feeds = open_inference.read(body, size)

        heavy, within_ms = wish.parameters.get("heavy") is True, open_inference.deadline_ms(wish)

        def ask(model: LoadedModel) -> "tuple[LoadedModel, Arrays | Answer]":
            open_inference.check_outputs(wish, model.runtime.outputs)
            return model, self._hybrid.infer(feeds, model, heavy, body, declared, self._gate, within_ms)

        model, outputs = self._with_model(ask, name, version)
        if not isinstance(outputs, Mapping):
            return self._relayed(outputs, name, version)
        return self._tensors(*open_inference.write(wish, outputs, model))

    def _tensors(self, pieces: "Sequence[bytes | memoryview]", json_size: int | None, by: str = "device") -> Reply:
        headers = self._answered(by)
        if json_size is None:
            return Reply(200, pieces, headers=headers)
        headers["Inference-Header-Content-Length"] = str(json_size)
        return Reply(200, pieces, "application/octet-stream", headers)

    def _relayed(self, answer: "Answer", name: str, version: str | None) -> Reply:
        """The server's reply, for whoever named that model."""
        from agent.inference import open_inference

        reply, _ = open_inference.read_reply(answer.body, answer.json_size)
        if reply.model_name != name or version not in (None, reply.model_version):
            raise HttpError(
                404, f"There is no model here, and the server has {reply.model_name}@{reply.model_version}."
            )
        return self._tensors([answer.body], answer.json_size, "server")

    def _answered(self, by: str) -> dict[str, str]:
        """In hybrid mode a reply says who decided."""
        return {"Answered-By": by} if self._hybrid.on else {}

    def _act(self, request: Request) -> Reply:
        size = _json_size(request, MAX_ACT)
        if self._engine.model is None and (answer := self._hybrid.without_model("act", request.body)):
            return Reply(200, [answer.body], headers=self._answered("server"))
        self._named()
        from agent.inference import act, policy_card

        def ask(model: LoadedModel) -> tuple[bytes, bool]:
            card = model.card
            if card is None:
                raise HttpError(
                    409, f"The model has no policy card. Send it tensors, at /v2/models/{model.name}/infer."
                )
            with self._large if size > LARGE_JSON else nullcontext():
                asked = act.decode(request.body)
                observation = act.observed(asked, card)
            try:
                actions, elsewhere = self._hybrid.decide(observation, asked.heavy, model, self._gate, asked.within_ms)
            except policy_card.CardError as problem:
                raise InputError(f"{str(problem)[:1].upper()}{str(problem)[1:]}.") from problem
            return act.write(actions, model, card), elsewhere

        reply, elsewhere = self._with_model(ask)
        return Reply(200, [reply], headers=self._answered("server" if elsewhere else "device"))

    def _say_idle(self, request: Request) -> Reply:
        try:
            said = msgspec.json.decode(request.body, type=Idle)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
            raise HttpError(400, f'Send {{"idle": true}} or {{"idle": false}}: {problem}.') from problem
        self._on_idle(said.idle)
        return _json({"idle": said.idle})

    def _health(self, _: Request) -> Reply:
        model = self._engine.model
        told = {"name": model.name, "version": model.version, "artifact": model.artifact} if model else None
        restraints = [sentence(each) for each in self._restraints()]
        return _json({"live": True, "ready": model is not None, "model": told, "restraints": restraints})

    def _metrics(self, _: Request) -> Reply:
        with self._counting:
            replies = dict(self._replies)
        text = metrics.text(self._meter.look(), self._engine.model, replies, self._restraints())
        return Reply(200, [text], metrics.CONTENT_TYPE)

    def _describe_server(self, _: Request) -> Reply:
        return _json({"name": "edge-agent", "version": __version__, "extensions": ["binary_tensor_data"]})

    # --- The model ---

    def _named(self, name: str | None = None, version: str | None = None) -> LoadedModel:
        """The model in place. Raises NoModelError, or HttpError when it is another one than that named."""
        model = self._engine.model
        if model is None:
            raise NoModelError("There is no model on this device yet; roll one out to it.")
        if name not in (None, model.name) or version not in (None, model.version):
            asked = f"{name}@{version}" if version else f"{name}"
            raise HttpError(
                404, f"There is no model {asked[:200]} here; this device runs {model.name}@{model.version}."
            )
        return model

    def _with_model(self, ask: Callable[[LoadedModel], T], name: str | None = None, version: str | None = None) -> T:
        """`ask` the model of that name; one that was swapped meanwhile gives way to the one in place."""
        while True:
            model = self._named(name, version)
            with suppress(SwappedError):
                return ask(model)


def _json_size(request: Request, limit: int) -> int:
    """Bytes of the body that are JSON: all of it, or as many as the binary extension's header says."""
    given = request.headers.get("inference-header-content-length")
    if given is None:
        size = len(request.body)
    elif given.isascii() and given.isdecimal() and len(given) <= 18 and int(given) <= len(request.body):
        size = int(given)
    else:
        raise HttpError(400, "The Inference-Header-Content-Length is no number of bytes within the body.")
    if size > limit:
        raise HttpError(
            413,
            f"The request has {size} bytes of JSON, the limit is {limit}. Send raw tensors, or a smaller image.",
        )
    return size


def _json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, [msgspec.json.encode(value)], headers=headers or {})
