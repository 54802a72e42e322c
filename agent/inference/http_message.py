"""Requests and replies of HTTP/1.1, to and from bytes. Pure.

Parsed by hand, because the standard library's parser takes what can be read in two ways. Here what cannot be read for
sure (a repeated length, a folded header) is refused, never guessed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

#: Signs that no header holds: whoever finds a line's end in them reads another request.
_CONTROL = re.compile(r"[\0-\x08\x0a-\x1f\x7f]")

#: Headers that must not come twice: two ends could read two different requests.
_ONCE = frozenset(
    (
        "content-length",
        "transfer-encoding",
        "host",
        "authorization",
        "content-encoding",
        "inference-header-content-length",
    )
)


@dataclass(frozen=True, slots=True)
class Request:
    """headers by their name in lower case; path as it was sent, query included."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | bytearray = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """The body in pieces, which are sent as one."""

    status: int
    body: Sequence[bytes | memoryview] = ()
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpError(Exception):
    """A request that is answered with a status and a sentence instead."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def parse(text: str) -> tuple[Request, bool]:
    """A head without its last empty line, and whether the connection is to stay after it. Raises HttpError."""
    first, *rest = text.split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[1].startswith("/") or not first.isprintable():
        raise HttpError(400, "The request's first line is not of the form METHOD /path HTTP/1.1.")
    method, path, protocol = words
    if protocol not in ("HTTP/1.1", "HTTP/1.0"):
        raise HttpError(505, "The local API speaks HTTP/1.1.")
    headers: dict[str, str] = {}
    for line in rest:
        name, colon, value = line.partition(":")
        if not colon or not name or name.strip() != name or _CONTROL.search(line):
            raise HttpError(400, "A header is not of the form Name: value.")
        name = name.lower()
        if name in headers and name in _ONCE:
            raise HttpError(400, f"The header {name} comes twice.")
        headers[name] = value.strip()
    wish = headers.get("connection", "").lower()
    return Request(method, path, headers), "close" not in wish if protocol == "HTTP/1.1" else "keep-alive" in wish


def encode(reply: Reply, keep: bool) -> bytes:
    """The whole reply; `keep` says whether the connection stays."""
    lines = [
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
        f"Content-Type: {reply.content_type}",
        f"Content-Length: {sum(len(piece) for piece in reply.body)}",
        "Connection: keep-alive" if keep else "Connection: close",
        *(f"{name}: {value}" for name, value in reply.headers.items()),
        "\r\n",
    ]
    return b"".join(("\r\n".join(lines).encode("latin-1"), *reply.body))
