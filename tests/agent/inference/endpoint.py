"""The server's inference endpoint for tests of the agent: a real HTTP server that can be late, wrong or gone.

It answers with an engine of its own, as the server's model process does.
"""

import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from agent.addresses import Web
from agent.inference import act, inference_engine, open_inference
from agent.inference.inference_engine import InferenceEngine

Spoil = Callable[[bytes], bytes]


class Endpoint:
    """asked: every request's path, headers and body. What it does otherwise is set by the test."""

    def __init__(
        self, folder: Path, name: str = "tiny", version: str = "1", port: int = 0, context: Any = None
    ) -> None:
        self.engine = InferenceEngine()
        self.engine.swap(inference_engine.load(folder, name=name, version=version))
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.greeted = 0
        self.status, self.headers = 200, dict[str, str]()
        self.delay = 0.0
        self.drip = False
        self.spoil: Spoil = lambda body: body
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                endpoint.greeted += 1
                self.reply(200, b"{}")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.asked.append((self.path, dict(self.headers), body))
                time.sleep(endpoint.delay)
                if endpoint.status != 200:
                    self.reply(endpoint.status, b'{"error": "as the test wishes"}')
                    return
                data, size = endpoint.answer(self.path, body, self.headers.get("Inference-Header-Content-Length"))
                more = {} if size is None else {"Inference-Header-Content-Length": str(size)}
                self.reply(200, endpoint.spoil(data), {"Compute-Ms": "0.5", **more})

            def reply(self, status: int, body: bytes, more: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {**endpoint.headers, **(more or {}), "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                for piece in [body[at : at + 1] for at in range(len(body))] if endpoint.drip else [body]:
                    self.wfile.write(piece)
                    self.wfile.flush()
                    if endpoint.drip:
                        time.sleep(0.02)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.handle_error = lambda *_: None  # a client that went away is what these tests are about
        self._open: list[socket.socket] = []
        accept = self._server.get_request

        def remembered() -> Any:
            connection, address = accept()
            self._open.append(connection)
            return connection, address

        self._server.get_request = remembered
        self.port = self._server.server_address[1]
        self.address = Web("127.0.0.1", self.port, context is not None)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, path: str, body: bytes, json_size: str | None) -> tuple[bytes, int | None]:
        model = self.engine.model
        assert model is not None
        if path.startswith("/infer/act"):
            assert model.card is not None
            return act.write(self.engine.process(act.read(body, model.card)), model, model.card), None
        wish, feeds = open_inference.read(body, int(json_size or len(body)))
        pieces, size = open_inference.write(wish, self.engine.infer(feeds), model)
        return b"".join(pieces), size

    @property
    def last(self) -> Any:
        """The JSON of the last request."""
        return json.loads(self.asked[-1][2])

    def gone(self) -> None:
        """As if its process were killed: nothing listens, and every connection is cut."""
        self._server.shutdown()
        self._server.server_close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._open.clear()


@contextmanager
def serving(folder: Path, **how: Any) -> Iterator[Endpoint]:
    made = Endpoint(folder, **how)
    try:
        yield made
    finally:
        made.gone()
