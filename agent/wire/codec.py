"""Bytes to messages and back, with bounds checked before anything is decoded."""

import re
from functools import cache
from typing import Any, TypeVar, cast

import msgspec

T = TypeVar("T")

#: A body may be this large; blocks are raw and have their own bound (`manifest.BLOCK`).
MAX_BODY = 256 * 1024
MAX_DEPTH = 32
#: A string, also one that never ends; linear in its length.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


class WireError(ValueError):
    """A body that is too large, too deep, not JSON, or not what its topic carries."""


def encode(message: msgspec.Struct) -> bytes:
    return msgspec.json.encode(message)


def decode(body: bytes, kind: type[T], *, limit: int = MAX_BODY) -> T:
    """Decode `body` as `kind`. Raises WireError with a sentence; never anything else, whatever the bytes are."""
    if len(body) > limit:
        raise WireError(f"the body has {len(body)} bytes, the limit is {limit}")
    if _depth(body) > MAX_DEPTH:
        raise WireError(f"the body is nested deeper than {MAX_DEPTH}")
    try:
        decoder: msgspec.json.Decoder[T] = _decoder(cast(type, kind))
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise WireError(f"not a valid {kind.__name__}: {problem}") from problem


@cache
def _decoder(kind: type) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _depth(body: bytes) -> int:
    """An upper bound of the nesting. Pairs of brackets are taken out from the inside, a level at a time."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return 0
    brackets = _STRING.sub(b"", body).translate(None, _NO_BRACKETS)
    for depth in range(MAX_DEPTH + 1):
        fewer = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(fewer) == len(brackets):  # none left, or those that are have no other half
            return depth + len(brackets)
        brackets = fewer
    return MAX_DEPTH + 1
