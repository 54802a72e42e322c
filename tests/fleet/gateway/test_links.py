"""Signed addresses: for one part, one device, some minutes; anything else is refused with a sentence."""

import asyncio
import time
from urllib.parse import urlsplit

import pytest

from agent.wire.messages import Want, WantPart
from fleet.catalog import store
from fleet.gateway import links
from fleet.gateway.links import PartServer

DATA = bytes(range(256)) * 4096


@pytest.fixture(autouse=True)
def offered(settings):
    settings.PARTS_URL = "https://fleet.example.org"


@pytest.fixture
def digest() -> str:
    return store.put_bytes(DATA)


def get(address: str, span: str | None = None, method: str = "GET") -> tuple[int, dict[bytes, bytes], bytes]:
    parts = urlsplit(address)
    sent: list[dict] = []

    async def elsewhere(scope, receive, send):
        await send({"type": "http.response.start", "status": 299, "headers": []})

    async def ask():
        scope = {
            "type": "http",
            "method": method,
            "path": parts.path,
            "query_string": parts.query.encode(),
            "headers": [(b"range", span.encode())] if span else [],
        }

        async def send(message):
            sent.append(message)

        await PartServer(elsewhere)(scope, None, send)

    asyncio.run(ask())
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(each.get("body", b"") for each in sent[1:])


def address_of(digest: str, seconds: float = 60) -> str:
    return links.url(digest, "d-1", int(time.time() + seconds))


def test_a_want_is_answered_with_an_address_for_each_part(digest):
    parts = (WantPart(digest=digest, first=0, missing="ff"), WantPart(digest=digest, first=4096, missing="01"))
    answer = links.answer("d-1", Want(parts=parts, links=True))

    (link,) = answer.links
    assert get(link.url)[2] == DATA


@pytest.mark.parametrize(
    ("span", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=1000-", 1000, len(DATA)),
        ("bytes=5-99999999999", 5, len(DATA)),
        (None, 0, len(DATA)),
    ],
)
def test_a_range_is_that_range(digest, span, start, end):
    status, headers, body = get(address_of(digest), span)

    assert (status, body) == (206, DATA[start:end])
    assert headers[b"content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}".encode()
    assert int(headers[b"content-length"]) == end - start


@pytest.mark.parametrize(
    "span", ["bytes=9-3", "bytes=-5", "bytes=0-1,5-6", "bits=0-1", f"bytes={len(DATA)}-", "bytes=x-y"]
)
def test_a_range_that_is_none_is_refused(digest, span):
    assert get(address_of(digest), span)[0] == 416


@pytest.mark.parametrize(
    "spoil",
    [
        lambda address, digest: address.replace("for=d-1", "for=d-2"),
        lambda address, digest: address.replace(digest, store.put_bytes(b"another")),
        lambda address, digest: address[:-1] + ("0" if address[-1] != "0" else "1"),
        lambda address, digest: address.partition("?")[0],
        lambda address, digest: address.replace("until=", "until=9"),
        lambda address, digest: address_of(digest, -1),
    ],
    ids=["another device's", "another part", "a forged key", "none", "a longer life", "expired"],
)
def test_what_was_not_signed_so_is_refused(digest, spoil):
    status, _, body = get(spoil(address_of(digest), digest))

    assert status == 403 and body.startswith(b"This address")


def test_other_addresses_are_the_pages_and_other_methods_are_refused(digest):
    assert get("https://x/login")[0] == 299
    assert get(address_of(digest), method="POST")[0] == 405
    assert get(address_of("ab" * 32))[0] == 404
    assert get(address_of("../../etc/passwd"))[0] == 404


def test_nothing_is_offered_where_no_address_is_set(digest, settings):
    settings.PARTS_URL = ""

    assert links.answer("d-1", Want(parts=(WantPart(digest=digest, first=0, missing="ff"),), links=True)) is None
