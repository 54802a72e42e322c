"""Bytes to messages and back, with bounds checked before anything is decoded."""

from typing import TypeVar

import msgspec

T = TypeVar("T")

#: A body may be this large; blocks are raw and have their own bound (`manifest.BLOCK`).
MAX_BODY = 256 * 1024
MAX_DEPTH = 32


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
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise WireError(f"not a valid {kind.__name__}: {problem}") from problem


def _depth(body: bytes) -> int:
    """An upper bound of the nesting, brackets in strings included: cheap, and never too small."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    in_string = escaped = False
    for byte in body:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in (0x5B, 0x7B):
            depth += 1
            deepest = max(deepest, depth)
            if deepest > MAX_DEPTH:
                return deepest
        elif byte in (0x5D, 0x7D):
            depth -= 1
    return deepest
