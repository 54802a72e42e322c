"""Latency sketches as bytes in a row: the bins of agent.wire.latency in MessagePack, some three bytes each."""

from collections.abc import Mapping

import msgspec

_decode = msgspec.msgpack.Decoder(dict[int, int]).decode
_encode = msgspec.msgpack.Encoder().encode


def pack(bins: Mapping[int, int]) -> bytes:
    """Empty for no decision."""
    return _encode(bins) if bins else b""


def unpack(data: bytes | memoryview) -> dict[int, int]:
    return _decode(data) if len(data) else {}
