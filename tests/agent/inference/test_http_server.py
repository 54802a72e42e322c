"""HTTP with its bounds: programs that are slow, too many, too large, or speak something else."""

import http.client
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from agent.inference.http_message import HttpError, Reply, Request, encode, parse
from agent.inference.http_server import HttpServer, Limits
from tests.agent.inference.apis import spoken
from tests.agent.waiting import wait_for


@contextmanager
def serving(answer=lambda request: Reply(200, [request.method.encode(), b" ", bytes(request.body)]), **limits):
    """The port of a server that answers with what it was asked."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(
        listener,
        answer=answer,
        admit=lambda _: None,
        refuse=lambda problem: Reply(problem.status, [str(problem).encode()], "text/plain"),
        limits=Limits(**limits),
    )
    server.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.stop()


def test_many_requests_go_over_one_connection():
    with serving() as port, socket.create_connection(("127.0.0.1", port)) as client:
        said = b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\n\r\n"
        client.sendall(said * 50)
        heard = b""
        while heard.count(b"HTTP/1.1 200 OK") < 100 or not heard.endswith(b"GET "):
            heard += client.recv(65536)

    assert heard.count(b"POST abc") == 50
    assert b"Connection: close" not in heard


@pytest.mark.parametrize(
    ("said", "stays"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nConnection: Close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", True),
    ],
)
def test_a_connection_stays_as_it_was_agreed(said, stays):
    with serving(idle_seconds=0.2) as port:
        begun = time.monotonic()
        heard = spoken(port, said)
        seconds = time.monotonic() - begun

    assert heard.startswith(b"HTTP/1.1 200 OK\r\n") and heard.endswith(b"\r\n\r\nGET ")
    assert (b"Connection: keep-alive" in heard) is stays
    assert (seconds > 0.15) is stays, "one that stays is closed when it is idle for too long"


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET http://elsewhere/ HTTP/1.1\r\n\r\n", 400),
        (b"GET /\0 HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1_0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nContent-Length: ²\r\n\r\n".encode("latin-1"), 400),
        (b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 40 + b"\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 20_000 + b"\r\n\r\n", 431),
        (b"G" * 20_000, 431),
    ],
)
def test_what_cannot_be_read_for_sure_is_refused_and_the_connection_ends(said, status):
    with serving(body=1000) as port:
        heard = spoken(port, said)

    assert heard.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Connection: close" in heard


def test_a_program_that_still_sends_hears_why_it_was_refused():
    with serving(body=1000) as port:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        client.request("POST", "/", b"x" * 8_000_000)
        assert client.getresponse().status == 413
        client.close()


@pytest.mark.parametrize(
    ("first", "drip", "words"),
    [
        (b"GET / HTTP/1.1\r\n", b"A", b"The request's head took longer than 0.3 s"),
        (b"POST / HTTP/1.1\r\nContent-Length: 500\r\n\r\n", b"a", b"The body took longer than 0.3 s"),
    ],
)
def test_a_program_that_drips_is_cut_off(first, drip, words):
    with serving(head_seconds=0.3, body_seconds=0.3) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(first)
        begun = time.monotonic()
        heard = b""
        client.settimeout(0.05)
        while b"\r\n\r\n" not in heard:
            assert time.monotonic() - begun < 5
            try:
                heard += client.recv(4096)
            except TimeoutError:
                client.sendall(drip)  # each byte would start a plain timeout anew

    assert heard.startswith(b"HTTP/1.1 408 ")
    assert words in heard


def test_one_program_too_many_is_told_so_and_one_that_leaves_makes_room():
    with serving(connections=2) as port:
        clients = [http.client.HTTPConnection("127.0.0.1", port, timeout=10) for _ in range(3)]
        for client in clients[:2]:
            client.request("GET", "/")
            assert client.getresponse().read() == b"GET "
        clients[2].request("GET", "/")
        refused = clients[2].getresponse()
        assert (refused.status, refused.read()) == (503, b"2 programs are connected already. Close one, or try later.")
        clients[0].close()

        def let_in() -> bool:
            clients[2].close()
            clients[2].request("GET", "/")
            return clients[2].getresponse().status == 200

        wait_for("room", let_in)
        for client in clients:
            client.close()


def test_large_bodies_share_one_bound():
    with serving(admitted=1500, body=1000, body_seconds=5) as port:
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
            assert slow.recv(4096).startswith(b"HTTP/1.1 100 "), "it is the first to have room"
            slow.sendall(b"half")
            said = b"POST / HTTP/1.1\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n" + b"x" * 1000
            wait_for("it to be too much", lambda: spoken(port, said).startswith(b"HTTP/1.1 503 "))
        wait_for("room again", lambda: spoken(port, said).startswith(b"HTTP/1.1 200 "))


def test_a_program_that_asks_first_is_told_to_go_on():
    with serving() as port, socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"abc")
        assert client.recv(4096).endswith(b"POST abc")


def test_stopping_gives_a_request_its_end_and_takes_nothing_new():
    begun, go_on = threading.Event(), threading.Event()

    def answer(request: Request) -> Reply:
        begun.set()
        go_on.wait(5)
        return Reply(200, [b"done"])

    heard = []
    with serving(answer) as port:
        asking = threading.Thread(target=lambda: heard.append(spoken(port, b"GET / HTTP/1.1\r\n\r\n")))
        asking.start()
        begun.wait(5)
        threading.Timer(0.2, go_on.set).start()
    asking.join()

    assert heard[0].endswith(b"done")
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_a_program_that_leaves_in_the_middle_leaves_nothing_behind():
    before = threading.active_count()
    with serving() as port:
        for said in (b"", b"GET", b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc"):
            assert spoken(port, said, end=True) == b""
        wait_for("its threads to end", lambda: threading.active_count() == before + 1)


def test_a_reply_is_a_head_and_its_pieces():
    data = encode(Reply(200, [b"ab", memoryview(b"cd")], "text/plain", {"X": "y"}), keep=True)

    head = (b"HTTP/1.1 200 OK", b"Content-Type: text/plain", b"Content-Length: 4", b"Connection: keep-alive", b"X: y")

    assert data == b"\r\n".join((*head, b"", b"abcd"))


def test_a_head_is_parsed_as_it_was_sent():
    request, keep = parse("POST /a%20b?c HTTP/1.1\r\nHost: robot:8008\r\nX-EMPTY:\r\nX-Tab:\tb\tc ")

    assert (request.method, request.path, keep) == ("POST", "/a%20b?c", True)
    assert request.headers == {"host": "robot:8008", "x-empty": "", "x-tab": "b\tc"}
    with pytest.raises(HttpError):
        parse("")
