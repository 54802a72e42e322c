"""A trial's folder becomes a variant: the model file cut at tensor boundaries, then card (if any), golden observations.

The concatenation of the model's parts is the file, byte for byte, so that a device needs no ONNX library to put it
together; and a tensor that two versions share lies in a part that they share, so that it is sent once. Where fewer
bytes make a part, these are stored beside it as its sources: the part compressed, and a patch to the part of an earlier
version.
"""

import hashlib
import mmap
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from agent.wire.manifest import MAX_PATCHED, PART_FLOOR, Manifest, Part, Source
from fleet.optimizer.errors import OptimizerError

#: Fields of ModelProto and GraphProto (onnx.proto3), and the wire type of what has a length.
_GRAPH, _INITIALIZER, _LENGTH_DELIMITED = 7, 5, 2
_FIXED = {1: 8, 5: 4}
#: A source has to save this share of what is sent without it; a device spends time and space on it.
WORTH = 0.05
#: zstd's level: beyond it weights get no smaller, and it takes far longer.
LEVEL = 12


class PackagingError(OptimizerError):
    """A folder that cannot become a variant."""


class Facts(msgspec.Struct, frozen=True):
    """facts.json of a trial's folder. memory_bytes: what the model adds to a process that has loaded the runtime.

    tolerance: the largest absolute difference from the golden outputs that another machine may have.
    """

    memory_bytes: int
    tolerance: float


class _Card(msgspec.Struct, frozen=True):
    """What the manifest takes of a policy card, and what holds without one."""

    deadline_ms: float = 100.0


Store = Callable[[bytes], str]
Read = Callable[[str], bytes]


def package(
    folder: Path,
    put: Store,
    *,
    model: str,
    version: str,
    variant: str,
    device_class: str,
    before: Manifest | None = None,
    read: Read = lambda digest: b"",
) -> Manifest:
    """Hand the bytes of each part and source to `put` (which returns their SHA-256), and describe them.

    folder holds model.onnx, golden.npz and facts.json, and card.json where the model has a policy card. before is what
    devices run that will get this, and `read` gives the bytes of its parts.
    """
    facts = msgspec.json.decode((folder / "facts.json").read_bytes(), type=Facts)
    card_file = folder / "card.json"
    card = msgspec.json.decode(card_file.read_bytes(), type=_Card) if card_file.exists() else _Card()
    whole = hashlib.sha256()
    parts: list[Part] = []
    sources: dict[str, list[Source]] = {}

    def add(data: bytes, role: str) -> None:
        whole.update(data)
        part = Part(put(data), len(data), role)  # type: ignore[arg-type]  # one of the contract's roles
        place = sum(each.role == role for each in parts)
        parts.append(part)
        if part.digest not in sources:
            sources[part.digest] = list(_sources(part, data, _base(part, place, before), put, read))

    for data in model_parts(folder / "model.onnx"):
        add(data, "model")
    if card_file.exists():
        add(card_file.read_bytes(), "card")
    add((folder / "golden.npz").read_bytes(), "golden")
    return Manifest(
        model=model,
        version=version,
        variant=variant,
        device_class=device_class,  # type: ignore[arg-type]  # the caller's class is one of the contract's
        digest=whole.hexdigest(),
        size=sum(part.size for part in parts),
        parts=tuple(parts),
        memory_bytes=facts.memory_bytes,
        tolerance=facts.tolerance,
        deadline_ms=card.deadline_ms,
        sources=_distinct(parts, sources),
    )


def _distinct(parts: list[Part], sources: dict[str, list[Source]]) -> tuple[Source, ...]:
    """In the order of the parts; each moves under a digest of its own."""
    taken = {part.digest for part in parts}
    kept = []
    for source in (each for own in sources.values() for each in own):
        if source.digest not in taken:
            taken.add(source.digest)
            kept.append(source)
    return tuple(kept)


def _base(part: Part, place: int, before: Manifest | None) -> Part | None:
    """The part of the earlier version that this one most likely came of: at the same place, and about as large."""
    if before is None or part.size > MAX_PATCHED or any(each.digest == part.digest for each in before.parts):
        return None
    there = before.of(part.role)
    found = [each for each in there if each.size == part.size] or list(there)
    found = [each for each in found if each.size <= MAX_PATCHED]
    return min(found, key=lambda each: abs(there.index(each) - place), default=None)


def _sources(part: Part, data: bytes, base: Part | None, put: Store, read: Read) -> Iterator[Source]:
    from backports import zstd

    most = (1 - WORTH) * part.size
    packed = zstd.compress(data, level=LEVEL)
    if len(packed) <= most:
        yield Source(part=part.digest, how="zstd", digest=put(packed), size=len(packed))
        most = (1 - WORTH) * len(packed)
    if base is not None:
        import bsdiff4

        patch = bsdiff4.diff(read(base.digest), data)
        if len(patch) <= most:
            yield Source(part=part.digest, how="bsdiff", digest=put(patch), size=len(patch), base=base.digest)


def model_parts(path: Path) -> Iterator[bytes]:
    """The file's bytes in order, cut at tensor boundaries, each piece (but perhaps the last) at least PART_FLOOR."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = 0
        for cut in cuts(data):
            if cut - start >= PART_FLOOR:
                yield data[start:cut]
                start = cut
        if start < len(data):
            yield data[start:]


def cuts(data: "bytes | mmap.mmap") -> list[int]:
    """Offsets at which an initializer begins or ends, in order. Raises PackagingError for what is no protobuf."""
    found: set[int] = set()
    for number, _, value, end in _fields(data, 0, len(data)):
        if number == _GRAPH:
            for inner, begin, _, inner_end in _fields(data, value, end):
                if inner == _INITIALIZER:
                    found |= {begin, inner_end}
    return sorted(found)


def _fields(data: "bytes | mmap.mmap", at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number, where its tag begins, where its value begins, where it ends) of one message's fields."""
    while at < end:
        begin = at
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        value = at
        if kind == 0:
            _, at = _varint(data, at, end)
        elif kind == _LENGTH_DELIMITED:
            size, value = _varint(data, at, end)
            at = value + size
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            raise PackagingError(f"the model file has wire type {kind} at byte {begin}: it is no ONNX protobuf")
        if at > end:
            raise PackagingError(f"the model file is cut off: a field at byte {begin} ends at {at}, beyond {end}")
        yield number, begin, value, at


def _varint(data: "bytes | mmap.mmap", at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise PackagingError(f"the model file is cut off, or no ONNX protobuf, near byte {at}")
