"""The address at which hybrid devices ask: `GET /infer`, `POST /infer/act` and `POST /infer/tensors`.

A device logs in with its id and its own secret (HTTP Basic). Everything that a head can tell is checked before the body
is read; a body is bounded in bytes and time. Nothing of a request is logged or kept.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from django.utils import timezone

from fleet.inference.desk import Desk
from fleet.inference.host import KINDS, Reply
from fleet.inference.logins import Login
from fleet.inference.refusal import Refusal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

PATH = "/infer"
MAX_BODY = 16 * 1024**2
#: Milliseconds that a request may take where it does not say, and at most; seconds that a greeting waits for the model.
DEADLINE_MS, MAX_DEADLINE_MS, HELLO_SECONDS = 1000.0, 30_000.0, 25.0


class InferenceServer:
    """Answers below PATH, and hands everything else on."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._desk: Desk | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not (path == PATH or path.startswith(f"{PATH}/")):
            return await self._application(scope, receive, send)
        if self._desk is None:
            self._desk = Desk()
        request = _Request(scope, receive)
        try:
            reply = await _answer(self._desk, request)
        except Refusal as refusal:
            self._desk.meter.refused(refusal.device, refusal.reason, request.received, timezone.now())
            return await _refuse(send, refusal)
        headers = [(b"compute-ms", f"{reply.milliseconds:.3f}".encode())]
        if reply.json_size is not None:
            headers.append((b"inference-header-content-length", str(reply.json_size).encode()))
        await _send(send, reply.status, reply.body, headers)


class _Request:
    """One request: its head, and its body once it is read."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.began = time.monotonic()
        self.method: str = scope["method"]
        self.kind: str = scope["path"].removeprefix(PATH).strip("/")
        self._headers = dict(scope["headers"])
        query = parse_qs(scope["query_string"].decode("latin-1"))
        self.model, self.version = (query.get(name, [""])[0] for name in ("model", "version"))
        self._receive = receive
        self.received = 0

    def header(self, name: str) -> str:
        return self._headers.get(name.encode(), b"").decode("latin-1")

    def number(self, name: str) -> int | None:
        """A header that is a whole number. Raises Refusal when it is there and is none."""
        text = self.header(name)
        if not text:
            return None
        if not text.isascii() or not text.isdigit() or len(text) > 12:
            raise Refusal(400, "request", f"The header {name} is no number.")
        return int(text)

    @property
    def until(self) -> float:
        given = self.number("deadline-ms")
        return self.began + min(MAX_DEADLINE_MS, DEADLINE_MS if given is None else given) / 1e3

    def size(self) -> int:
        """The body's length, as its head says. Raises Refusal."""
        size = self.number("content-length")
        if size is None:
            raise Refusal(411, "request", "The request has no Content-Length.")
        if size > MAX_BODY:
            raise Refusal(413, "request", f"The request has {size:,} bytes, the limit is {MAX_BODY:,}.")
        return size

    async def body(self, size: int) -> bytes:
        """All of it, within the deadline. Raises Refusal."""
        data = bytearray()
        try:
            async with asyncio.timeout(max(0.0, self.until - time.monotonic())):
                more = size > 0
                while more:
                    message = await self._receive()
                    data += message.get("body", b"")
                    self.received = len(data)
                    more = message.get("more_body", False)
                    if message["type"] == "http.disconnect" or len(data) > size:
                        raise Refusal(400, "request", "The body is not as long as its head said.")
        except TimeoutError:
            raise Refusal(408, "late", "The body did not come within the request's deadline.") from None
        if len(data) != size:
            raise Refusal(400, "request", "The body is not as long as its head said.")
        return bytes(data)


async def _answer(desk: Desk, request: _Request) -> Reply:
    """Raises Refusal."""
    login = await desk.enter(request.header("authorization"))
    try:
        if request.method == "GET" and not request.kind:
            return await _greet(desk, login, request)
        if request.method != "POST" or request.kind not in KINDS:
            raise Refusal(404, "request", f"Devices ask by POST at {', '.join(f'{PATH}/{kind}' for kind in KINDS)}.")
        size, json_size = request.size(), request.number("inference-header-content-length")
        if json_size is not None and json_size > size:
            raise Refusal(400, "request", "The Inference-Header-Content-Length is beyond the body.")
        desk.admit(login, size)
        served = await desk.served(login, request.model, request.version)
        with desk.room(login, size):
            body = await request.body(size)
            reply = await desk.ask(login, served, request.kind, body, json_size, request.until)
    except Refusal as refusal:
        refusal.device = login.device
        raise
    if reply.status != 200:
        reason = "request" if reply.status < 500 else "crash"
        raise Refusal(reply.status, reason, json.loads(reply.body)["error"], device=login.device)
    took = 1e3 * (time.monotonic() - request.began)
    desk.meter.answered(login.device, size, len(reply.body), took, timezone.now())
    return reply


async def _greet(desk: Desk, login: Login, request: _Request) -> Reply:
    """Which model answers this device, once it is loaded."""
    served = await desk.served(login, request.model, request.version)
    await desk.ready(login, served, HELLO_SECONDS)
    told = {"model": served.model, "version": served.version, "variant": served.variant}
    return Reply(200, json.dumps({**told, "device_class": served.device_class}).encode(), None, 0.0)


async def _refuse(send: Send, refusal: Refusal) -> None:
    """The connection ends: what else of the request is on its way is not read."""
    headers = [(b"connection", b"close")]
    if refusal.retry_after:
        headers.append((b"retry-after", str(refusal.retry_after).encode()))
    if refusal.status == 401:
        headers.append((b"www-authenticate", b'Basic realm="edgefleet"'))
    await _send(send, refusal.status, json.dumps({"error": refusal.sentence}).encode(), headers)


async def _send(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    kind = (
        b"application/octet-stream"
        if any(name.startswith(b"inference-") for name, _ in headers)
        else b"application/json"
    )
    plain = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": plain})
    await send({"type": "http.response.body", "body": body})
