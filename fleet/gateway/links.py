"""Signed addresses under which a device can fetch a part for a while by HTTP Range, and the application behind them."""

import time
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlencode

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

from agent.wire.messages import Link, Links, Want
from fleet.catalog import store

SECONDS = 600
PATH = "/parts/"
_CHUNK = 256 * 1024


def answer(device_id: str, want: Want) -> Links | None:
    """Addresses of the parts that a device wants; None where parts are not served by HTTP."""
    if not settings.PARTS_URL:
        return None
    until = int(time.time()) + SECONDS
    digests = dict.fromkeys(part.digest for part in want.parts)
    return Links(links=tuple(Link(digest=each, url=url(each, device_id, until)) for each in digests), seconds=SECONDS)


def url(digest: str, device_id: str, until: int) -> str:
    query = urlencode({"for": device_id, "until": until, "key": _key(digest, device_id, until)})
    return f"{settings.PARTS_URL}{PATH}{digest}?{query}"


def _key(digest: str, device_id: str, until: int) -> str:
    return salted_hmac("fleet.gateway.links", f"{digest} {device_id} {until}", algorithm="sha256").hexdigest()


class PartServer:
    """Answers below PATH, and hands everything else on. No session, no database: the address is the permission."""

    def __init__(self, application) -> None:
        self._application = application

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PATH):
            return await self._application(scope, receive, send)
        status, headers, body = _respond(scope, time.time())
        await send({"type": "http.response.start", "status": status, "headers": headers})
        async for chunk in body:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _respond(scope, now: float):
    digest = scope["path"][len(PATH) :]
    given = {name: values[0] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
    until = given.get("until", "")
    if scope["method"] != "GET":
        return _refused(405, "Parts can only be fetched.")
    if not until.isascii() or not until.isdigit() or len(until) > 12 or int(until) < now:
        return _refused(403, "This address has expired; ask for another one.")
    if not constant_time_compare(given.get("key", ""), _key(digest, given.get("for", ""), int(until))):
        return _refused(403, "This address was not signed by this server.")
    try:
        size = store.path(digest).stat().st_size
    except (OSError, ValueError):
        return _refused(404, "There is no such part.")
    span = _span(dict(scope["headers"]).get(b"range", b"bytes=0-").decode("latin-1"), size)
    if span is None:
        return _refused(416, f"The part has {size} bytes; ask for one range of them.")
    start, end = span
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", str(end - start).encode()),
        (b"content-range", f"bytes {start}-{end - 1}/{size}".encode()),
        (b"cache-control", b"private, no-store"),
    ]
    return 206, headers, _bytes(digest, start, end)


def _span(text: str, size: int) -> tuple[int, int] | None:
    """Start and end of `bytes=a-b` or `bytes=a-`, within the size; None for anything else."""
    first, dash, last = text.removeprefix("bytes=").partition("-")
    if not text.startswith("bytes=") or not dash or not first.isdecimal() or not (last.isdecimal() or not last):
        return None
    start, end = int(first[:20]), min(size, int(last[:20]) + 1 if last else size)
    return (start, end) if start < end else None


async def _bytes(digest: str, start: int, end: int) -> AsyncIterator[bytes]:
    with store.path(digest).open("rb") as file:
        file.seek(start)
        while start < end and (chunk := file.read(min(_CHUNK, end - start))):
            start += len(chunk)
            yield chunk


def _refused(status: int, words: str):
    async def body() -> AsyncIterator[bytes]:
        yield words.encode()

    return status, [(b"content-type", b"text/plain; charset=utf-8")], body()
