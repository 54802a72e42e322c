"""Blocks from the server's web address, where the device is set to and the server offers it."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from agent.deployment import window
from tests.agent.variants import Variant, variant


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Ask again for a lost block after moments."""
    monkeypatch.setattr(window, "PATIENCE", 0.3)


class Web:
    """A web server that holds a variant's parts; spoil may change what it answers: status and bytes."""

    def __init__(self, made: Variant) -> None:
        self.asked: list[str] = []
        self.spoil: Callable[[int, bytes], tuple[int, bytes]] = lambda status, data: (status, data)
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                web.asked.append(self.path)
                first, last = self.headers["Range"].removeprefix("bytes=").split("-")
                part = made.parts[self.path[1:].partition("?")[0]]
                status, data = web.spoil(206, part[int(first) : int(last) + 1])
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


MADE = variant(2.0, ballast=1_500_000, part_bytes=400_000)


@pytest.fixture
def web(server) -> Iterator[Web]:
    made = Web(MADE)
    server.links = made.address
    server.offer(MADE)
    yield made
    made.stop()


def test_everything_comes_from_there(server, device, web):
    device(http=True)
    server.wish(MADE.digest, "p-1")

    server.ended("p-1", "active")
    assert server.blocks_sent == 0
    assert {path[1:].partition("?")[0] for path in web.asked} == set(MADE.parts)
    assert all(path.endswith("?a=b") for path in web.asked)


def test_a_device_that_is_not_set_to_never_goes_there(server, device, web):
    device()
    server.wish(MADE.digest, "p-1")

    server.ended("p-1", "active")
    assert web.asked == [] and server.blocks_sent > 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda status, data: (403, b"This address has expired; ask for another one."),
        lambda status, data: (200, data),
        lambda status, data: (500, b""),
    ],
    ids=["forbidden", "no range", "broken"],
)
def test_a_web_server_that_does_not_serve_is_left_for_mqtt(server, device, web, spoil):
    web.spoil = spoil
    device(http=True)
    server.wish(MADE.digest, "p-1")

    server.ended("p-1", "active")
    assert server.blocks_sent > 0


def test_a_server_that_is_not_there_is_left_for_mqtt(server, device, web):
    web.stop()
    device(http=True)
    server.wish(MADE.digest, "p-1")

    server.ended("p-1", "active")


def test_what_comes_from_there_is_checked_like_everything_else(server, device, web):
    web.spoil = lambda status, data: (status, bytes([data[0] ^ 1]) + data[1:])
    device(http=True)
    server.wish(MADE.digest, "p-1")

    assert "came damaged 3 times" in server.ended("p-1", "failed").reason


def test_an_answer_that_is_too_long_is_not_taken(server, device, web):
    web.spoil = lambda status, data: (status, data + b"x" * 5_000_000)
    device(http=True)
    server.wish(MADE.digest, "p-1")

    server.ended("p-1", "active")
    assert server.blocks_sent > 0
