"""HTTP/1.1 for the few programs of one device, on loopback or a unix socket: bounded, and quick on small requests.

The standard library's server bounds each read and not a whole request, and takes as many connections as come. Here a
request has its deadlines, bodies together have a bound, and connections are counted. Each has a thread, which stays: no
request pays for a new one. A reply is written at once, so that it leaves as one packet.
"""

import contextlib
import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from agent.inference.http_message import HttpError, Reply, Request, encode, parse

log = logging.getLogger(__name__)

_CHUNK = 256 * 1024
#: Seconds that a program which is turned away may keep the others waiting.
_AWAY_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes and seconds. admitted: of all bodies that are on their way or being answered, together.

    idle: between two requests; head and body: from their first byte to their last; reply: until it is taken.
    """

    connections: int = 16
    head: int = 16 * 1024
    body: int = 64 * 1024**2
    admitted: int = 128 * 1024**2
    idle_seconds: float = 120.0
    head_seconds: float = 5.0
    body_seconds: float = 30.0
    reply_seconds: float = 30.0
    linger_seconds: float = 1.0


Answer = Callable[[Request], Reply]
#: Looks at a request before its body is read. Raises HttpError to refuse it.
Admit = Callable[[Request], None]
Refuse = Callable[[HttpError], Reply]


class HttpServer:
    """Serves a listening socket until `stop`.

    answer makes a reply of a request; admit may refuse it by its head alone; refuse puts an error into words.
    """

    def __init__(
        self, listener: socket.socket, *, answer: Answer, admit: Admit, refuse: Refuse, limits: Limits | None = None
    ) -> None:
        self.limits = limits or Limits()
        self.answer, self.admit, self.refuse = answer, admit, refuse
        self._listener = listener
        self._lock = threading.Lock()
        self._connections: dict[_Connection, threading.Thread] = {}
        self._admitted = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._accept, name="local-api", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float = 1.0) -> None:
        """Take nothing new, and give what is being answered its end."""
        end = time.monotonic() + seconds
        with self._lock:
            self._stopping = True
            connections = dict(self._connections)
        _shut(self._listener, socket.SHUT_RDWR)  # wakes the accept
        self._listener.close()
        for connection in connections:
            _shut(connection.socket, socket.SHUT_RD)
        for thread in (self._thread, *connections.values()):
            if thread.is_alive():
                thread.join(max(0.0, end - time.monotonic()))

    def reserve(self, size: int) -> bool:
        """Room for a body of `size` bytes, to be given back by `free`."""
        with self._lock:
            if self._admitted + size > self.limits.admitted:
                return False
            self._admitted += size
            return True

    def free(self, size: int) -> None:
        with self._lock:
            self._admitted -= size

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError as problem:
                if self._stopping:
                    return
                log.warning("the local API takes no connection: %s", problem)  # for example too many open files
                time.sleep(0.5)
                continue
            connection = _Connection(client, self)
            thread = threading.Thread(target=self._serve, args=(connection,), name="local-api-client", daemon=True)
            with self._lock:
                room = len(self._connections) < self.limits.connections and not self._stopping
                if room:
                    self._connections[connection] = thread
            if room:
                thread.start()
            else:
                connection.turn_away()

    def _serve(self, connection: "_Connection") -> None:
        try:
            connection.serve()
        except OSError:
            pass  # the program went away
        finally:
            connection.socket.close()
            with self._lock:
                self._connections.pop(connection, None)


class _Connection:
    """One program's connection: request after request, each answered before the next is read."""

    def __init__(self, client: socket.socket, server: HttpServer) -> None:
        self.socket = client
        self._server = server
        self._limits = server.limits
        self._rest = bytearray()
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def serve(self) -> None:
        while True:
            try:
                head = self._head()
                if head is None:
                    return
                keep = self._one(*head)
            except HttpError as problem:
                # What else was sent is not known to begin with a request: this connection ends.
                self._send(self._server.refuse(problem), keep=False)
                self._linger(self._limits.linger_seconds)
                return
            if not keep:
                return

    def turn_away(self) -> None:
        """Too many programs are connected already."""
        busy = HttpError(503, f"{self._limits.connections} programs are connected already. Close one, or try later.")
        with contextlib.suppress(OSError), self.socket:
            self._send(self._server.refuse(busy), keep=False)
            self._linger(_AWAY_SECONDS)

    def _one(self, request: Request, keep: bool) -> bool:
        """Answer one request; whether the connection stays."""
        self._server.admit(request)
        size = self._body_size(request)
        if size and not self._server.reserve(size):
            raise HttpError(503, "Too many large requests at once. Try again in a moment.")
        try:
            if size:
                if request.headers.get("expect", "").lower() == "100-continue":
                    self.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                request = Request(request.method, request.path, request.headers, self._body(size))
            self._send(self._answer(request), keep)
        finally:
            if size:
                self._server.free(size)
        return keep

    def _answer(self, request: Request) -> Reply:
        try:
            return self._server.answer(request)
        except HttpError as problem:
            return self._server.refuse(problem)
        except Exception as problem:
            # Neither its words nor its traceback: they may hold what the camera saw.
            place = traceback.extract_tb(problem.__traceback__)[-1]
            log.error("the local API broke: %s at %s:%s", type(problem).__name__, place.filename, place.lineno)
            return self._server.refuse(HttpError(500, "The agent could not answer this; its log says where it broke."))

    # --- Reading ---

    def _receive(self, until: float) -> bytes:
        """What came; empty at the end. Raises TimeoutError."""
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.socket.settimeout(left)
        return self.socket.recv(_CHUNK)

    def _head(self) -> tuple[Request, bool] | None:
        """The next request without its body, and whether the connection is to stay; None when there is none."""
        buffer, limits = self._rest, self._limits
        until = time.monotonic() + (limits.head_seconds if buffer else limits.idle_seconds)
        while (end := buffer.find(b"\r\n\r\n", 0, limits.head + 4)) < 0:
            if len(buffer) > limits.head:
                raise HttpError(431, f"The request's head has more than {limits.head} bytes.")
            begun = bool(buffer)
            try:
                data = self._receive(until)
            except TimeoutError:
                if not begun:
                    return None
                raise HttpError(408, f"The request's head took longer than {limits.head_seconds:g} s.") from None
            if not data:
                return None
            if not begun:
                until = time.monotonic() + limits.head_seconds
            buffer += data
        text = buffer[:end].decode("latin-1")
        del buffer[: end + 4]
        return parse(text)

    def _body_size(self, request: Request) -> int:
        headers, limit = request.headers, self._limits.body
        if "transfer-encoding" in headers:
            raise HttpError(411, "A body in chunks is not taken. Send it whole, with its Content-Length.")
        given = headers.get("content-length")
        if given is None:
            if request.method == "POST":
                raise HttpError(411, "The request has no Content-Length.")
            return 0
        if not (given.isascii() and given.isdecimal() and len(given) <= 18):
            raise HttpError(400, "The Content-Length is no number.")
        size = int(given)
        if size > limit:
            raise HttpError(413, f"The body has {size} bytes, the limit is {limit}.")
        return size

    def _body(self, size: int) -> bytes | bytearray:
        limits, rest = self._limits, self._rest
        if len(rest) >= size:
            body = rest[:size]
            del rest[:size]
            return body
        body = rest[:]
        rest.clear()
        until = time.monotonic() + limits.body_seconds
        while len(body) < size:
            try:
                data = self._receive(until)
            except TimeoutError:
                raise HttpError(408, f"The body took longer than {limits.body_seconds:g} s.") from None
            if not data:
                raise ConnectionError
            body += data
        if len(body) > size:
            rest += memoryview(body)[size:]
            del body[size:]
        return body

    # --- Writing ---

    def _send(self, reply: Reply, keep: bool) -> None:
        self.socket.settimeout(self._limits.reply_seconds)
        self.socket.sendall(encode(reply, keep))

    def _linger(self, seconds: float) -> None:
        """Read on for a moment: closing over unread bytes would take the reply back from whoever is still sending."""
        _shut(self.socket, socket.SHUT_WR)
        until = time.monotonic() + seconds
        with contextlib.suppress(OSError):
            while self._receive(until):
                pass


def _shut(client: socket.socket, how: int) -> None:
    with contextlib.suppress(OSError):  # it is closed already
        client.shutdown(how)
