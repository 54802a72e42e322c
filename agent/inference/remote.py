"""Asks the server's inference endpoint, for a device in hybrid mode.

One connection, kept. A thread of its own finds the server, logs in and waits there until the model is ready, so that no
request of a robot's program ever waits for any of that: while there is no connection, a request is told so at once.
After a failure the thread tries again, each time a little later. An answer that drips is late like any other.
"""

import base64
import contextlib
import http.client
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

from agent.addresses import Web
from agent.inference.bounded_socket import BoundedSocket
from agent.link.backoff import delay

log = logging.getLogger(__name__)

#: Where the server answers devices (fleet.inference.endpoint).
PATH = "/infer"
#: Seconds that connecting, and then loading the model there, may take.
CONNECT_SECONDS, HELLO_SECONDS = 5.0, 30.0
#: Seconds between attempts, first and longest; and how long nothing is asked after a refusal that will not pass soon.
RETRY_FIRST, RETRY_LONGEST = 0.5, 30.0
PAUSES = {401: 300.0, 403: 30.0, 404: 30.0}
MAX_PAUSE = 3600.0
#: The request's own fault: another one may be answered.
_OWN_FAULT = (400, 409, 413)
#: Bytes of a request that the server takes, and of an answer.
MAX_REQUEST, MAX_ANSWER = 16 * 1024**2, 64 * 1024**2
_POLL_SECONDS = 1.0

Kind = Literal["act", "tensors"]
#: Name and version of the model that is to answer; None: the one that the server holds for this device.
Model = tuple[str, str] | None


class RemoteError(RuntimeError):
    """The server did not answer a request; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply of the server. compute_ms: of it, what the model took there; json_size: as in Open Inference replies."""

    body: bytes
    json_size: int | None
    compute_ms: float


class Remote:
    """`ask` may be called from any thread; one request is under way at a time.

    model says what runs here, so that the server has the same ready; on_sent is told the bytes of each request's body
    that goes out. Times are of the steady clock, in seconds.
    """

    def __init__(
        self,
        address: Web,
        device_id: str,
        secret: str,
        model: Callable[[], Model],
        on_sent: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._login = "Basic " + base64.b64encode(f"{device_id}:{secret}".encode()).decode()
        self._model = model
        self._on_sent = on_sent
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None
        self._failures = 0
        self._not_before = 0.0
        self._said = ""
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="remote", daemon=True)

    @property
    def ready(self) -> bool:
        """Whether there is a server to ask now."""
        return self._connection is not None and self._clock() >= self._not_before

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask nothing any more; a request that is under way ends by its own deadline."""
        self._stopping.set()
        self._wake.set()
        if self._lock.acquire(timeout=0.2):
            self._close()
            self._lock.release()

    def ask(
        self, kind: Kind, body: bytes | bytearray, until: float, model: Model, json_size: int | None = None
    ) -> Answer:
        """The server's answer. Raises RemoteError when there is none by `until`."""
        if len(body) > MAX_REQUEST:
            raise RemoteError(f"the request has {len(body)} bytes, and the server takes {MAX_REQUEST}")
        if not self._lock.acquire(timeout=max(0.0, until - self._clock())):
            raise RemoteError("another request is being answered by the server")
        try:
            connection = self._connection
            if connection is None or self._stopping.is_set():
                raise RemoteError(self._said or "there is no connection to the server")
            headers = {"Deadline-Ms": f"{1e3 * max(0.0, until - self._clock()):.0f}"}
            if json_size is not None:
                headers["Inference-Header-Content-Length"] = str(json_size)
            self._on_sent(len(body))
            try:
                status, found, data = self._exchange(connection, "POST", f"{PATH}/{kind}", model, headers, body, until)
            except (OSError, http.client.HTTPException) as problem:
                late = isinstance(problem, TimeoutError)
                raise self._failed(
                    "the server was late" if late else f"the server is away: {_words(problem)}"
                ) from problem
            if status != http.HTTPStatus.OK:
                raise self._refused(status, found, data)
            self._failures = 0
            return Answer(data, _number(found.get("Inference-Header-Content-Length")), _milliseconds(found))
        finally:
            self._lock.release()

    def distrust(self, words: str) -> RemoteError:
        """An answer was wrong: ask again after a while only. Returns the error to raise."""
        words = f"the server's answer is wrong: {words}"
        if not self._lock.acquire(blocking=False):  # whoever is being answered must not keep this one waiting
            return self._pause(words, RETRY_FIRST)
        try:
            return self._failed(words)
        finally:
            self._lock.release()

    # --- The link, under the lock ---

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        model: Model,
        headers: dict[str, str],
        body: bytes | bytearray | None,
        until: float,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        bounded: Any = connection.sock  # it has been one since it was connected
        bounded.until = until
        query = f"?{urlencode({'model': model[0], 'version': model[1]})}" if model else ""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused by its head: the answer is there
            connection.request(method, path + query, body, {"Authorization": self._login, **headers})
        with connection.getresponse() as answer:
            data = answer.read(MAX_ANSWER + 1)
            if len(data) > MAX_ANSWER:
                raise http.client.HTTPException("an answer without end")
            ends = answer.will_close
        if ends:
            connection.close()
            if self._connection is connection:
                self._connection = None
        return answer.status, answer.headers, data

    def _refused(self, status: int, headers: http.client.HTTPMessage, data: bytes) -> RemoteError:
        words = f"the server refused it ({status}): {data[:300].decode(errors='replace')}"
        if status in _OWN_FAULT:
            return RemoteError(words)
        if status == http.HTTPStatus.TOO_MANY_REQUESTS:
            return self._pause(words, float(_number(headers.get("Retry-After")) or 60))
        if status in PAUSES:
            return self._pause(words, PAUSES[status])
        return self._failed(words)

    def _failed(self, words: str) -> RemoteError:
        """Nothing is known of this connection any more."""
        self._close()
        pause = delay(self._failures, RETRY_FIRST, RETRY_LONGEST)
        self._failures += 1
        return self._pause(words, pause)

    def _pause(self, words: str, seconds: float) -> RemoteError:
        self._not_before = self._clock() + min(MAX_PAUSE, max(RETRY_FIRST, seconds))
        if words != self._said:
            log.warning("decisions are made here for now: %s", words)
        self._said = words
        return RemoteError(words)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # --- The thread ---

    def _run(self) -> None:
        while not self._stopping.is_set():
            pause = self._not_before - self._clock()
            if pause > 0:
                self._wake.wait(min(pause, _POLL_SECONDS))
            elif self._connection is None:
                self._connect()
            else:
                self._wake.wait(_POLL_SECONDS)
                self._look()

    def _connect(self) -> None:
        """Find the server, log in, and wait until it has the model ready."""
        address = self._address
        kind: type[http.client.HTTPConnection] = http.client.HTTPConnection
        more: dict[str, Any] = {}
        try:
            if address.tls:
                kind = http.client.HTTPSConnection
                more = {"context": ssl.create_default_context(cafile=address.ca)}
            connection = kind(address.host, address.port, timeout=CONNECT_SECONDS, **more)
            connection.connect()
            connection.auto_open = 0  # a request never connects
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.sock = BoundedSocket(connection.sock, self._clock)
        except (OSError, ValueError) as problem:
            with self._lock:
                self._failed(f"the server is away: {_words(problem)}")
            return
        try:
            until = self._clock() + HELLO_SECONDS
            status, headers, data = self._exchange(connection, "GET", PATH, self._model(), {}, None, until)
        except (OSError, http.client.HTTPException) as problem:
            connection.close()
            with self._lock:
                self._failed(f"the server is away: {_words(problem)}")
            return
        with self._lock:
            if status == http.HTTPStatus.OK and connection.sock is None:
                self._failed("the server keeps no connection")
            elif status == http.HTTPStatus.OK and not self._stopping.is_set():
                self._connection = connection
                self._said = ""
                log.info("the server at %s:%d answers for this device", address.host, address.port)
                return
            elif status != http.HTTPStatus.OK:
                self._refused(status, headers, data)
        connection.close()

    def _look(self) -> None:
        """Whether the server has closed the connection while nothing was asked."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            bounded: Any = self._connection and self._connection.sock
            if bounded is not None and not bounded.alive():
                self._close()
        finally:
            self._lock.release()


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 12 else None


def _milliseconds(headers: http.client.HTTPMessage) -> float:
    try:
        return max(0.0, min(1e6, float(headers.get("Compute-Ms", "0"))))
    except ValueError:
        return 0.0


def _words(problem: Exception) -> str:
    return str(problem) or type(problem).__name__
