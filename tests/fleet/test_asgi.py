"""A body that is too long never reaches the disk."""

import asyncio

from fleet.asgi import BodyLimit


def call(limit: int, headers: list, bodies: list[bytes], path: str = "/") -> tuple[list, list]:
    """What the client is sent, and what the application behind the limit received."""
    sent, seen = [], []
    messages = [{"type": "http.request", "body": body, "more_body": True} for body in bodies]

    async def application(scope, receive, send):
        for _ in messages:
            message = await receive()
            seen.append(message)
            if message["type"] == "http.disconnect":
                return

    async def receive():
        return messages[len(seen)]

    async def send(message):
        sent.append(message)

    asyncio.run(BodyLimit(application, limit)({"type": "http", "path": path, "headers": headers}, receive, send))
    return sent, seen


def test_a_declared_length_beyond_the_limit_is_refused_unread():
    sent, seen = call(10, [(b"content-length", b"11")], [b"x" * 11])
    assert sent[0]["status"] == 413
    assert b"10 bytes" in sent[1]["body"]
    assert seen == []


def test_an_address_with_a_nul_is_no_page():
    sent, seen = call(10, [], [], "/devices/d-1\0")
    assert (sent[0]["status"], seen) == (404, [])


def test_a_length_that_is_no_number_is_refused():
    assert call(10, [(b"content-length", b"-1")], [])[0][0]["status"] == 413


def test_a_body_that_does_not_end_is_cut_off():
    sent, seen = call(10, [], [b"x" * 6] * 5)
    assert [message["type"] for message in seen] == ["http.request", "http.disconnect"]
    assert sent == []


def test_what_fits_passes():
    _, seen = call(10, [(b"content-length", b"10")], [b"x" * 5, b"x" * 5])
    assert b"".join(message["body"] for message in seen) == b"x" * 10
