"""A variant on the wire: an ordered list of content-addressed parts."""

import hashlib
from typing import Annotated, Literal

import msgspec

#: Bytes of one block on the wire. Measured: the size hardly matters, and 128 KiB passes every broker's default limit.
BLOCK = 128 * 1024
#: Tensors smaller than this share a part.
PART_FLOOR = 64 * 1024

Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Role = Literal["model", "card", "tokenizer", "golden"]

MAX_ARTIFACT = 64 * 1024**3
#: Patching takes the old part, the new one and the patch in memory: only parts of up to this size are patched.
MAX_PATCHED = 4 * 1024**2
#: Bytes of a manifest: 20,000 parts take about 2.5 million.
MAX_MANIFEST = 4 * 1024**2


class Part(msgspec.Struct, frozen=True):
    """`size` bytes whose SHA-256 is `digest`. Parts of role `model`, in order, are the model file."""

    digest: Digest
    size: Annotated[int, msgspec.Meta(ge=1, le=MAX_ARTIFACT)]
    role: Role


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Fewer bytes than a part has, from which the part can be made; digest and size are those of what is sent.

    zstd: the part, compressed. bsdiff: a patch (BSDIFF4) that makes it of the part `base`. Whatever is made has to have
    the part's digest.
    """

    part: Digest
    how: Literal["zstd", "bsdiff"]
    digest: Digest
    size: Annotated[int, msgspec.Meta(ge=1, le=MAX_ARTIFACT)]
    base: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?$")] = ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One variant: what to fetch, what it must hash to, what it needs.

    digest and size are those of the parts' concatenation in order. memory_bytes is the peak resident memory that was
    measured for the model (0: not measured); tolerance the largest absolute difference allowed against the golden
    outputs; deadline_ms the longest a decision may take.
    """

    schema: Literal[1] = 1
    model: Annotated[str, msgspec.Meta(max_length=128)]
    version: Annotated[str, msgspec.Meta(max_length=64)]
    variant: Annotated[str, msgspec.Meta(max_length=64)]
    device_class: Literal["embedded", "mobile", "edge_server"]
    digest: Digest
    size: Annotated[int, msgspec.Meta(ge=1, le=MAX_ARTIFACT)]
    parts: Annotated[tuple[Part, ...], msgspec.Meta(min_length=1, max_length=20_000)]
    memory_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0
    tolerance: Annotated[float, msgspec.Meta(ge=0)] = 1e-3
    deadline_ms: Annotated[float, msgspec.Meta(gt=0)] = 100.0
    sources: Annotated[tuple[Source, ...], msgspec.Meta(max_length=20_000)] = ()

    def of(self, role: Role) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.role == role)

    @property
    def number(self) -> int:
        """The model's version as a number, to tell older from newer; 0 when it is none."""
        return int(self.version) if self.version.isdecimal() and len(self.version) < 16 else 0


class ManifestError(ValueError):
    """A manifest that contradicts itself."""


def encode(manifest: Manifest) -> bytes:
    """The canonical bytes of a manifest: what its digest is taken of."""
    return msgspec.json.encode(manifest, order="deterministic")


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def check(manifest: Manifest) -> None:
    """Raises ManifestError when sizes do not add up, a needed role is missing or a source is of no use.

    A policy card is not needed: without one, programs on the device feed the model its tensors themselves.
    """
    total = sum(part.size for part in manifest.parts)
    if total != manifest.size:
        raise ManifestError(f"the parts add up to {total} bytes, the manifest says {manifest.size}")
    for role in ("model", "golden"):
        if not any(part.role == role for part in manifest.parts):
            raise ManifestError(f"the manifest has no part of role {role}")
    sizes = {part.digest: part.size for part in manifest.parts}
    for source in manifest.sources:
        if source.size >= sizes.get(source.part, 0) or (source.how == "bsdiff") is not bool(source.base):
            raise ManifestError(f"the source {source.digest[:12]} makes no part of this manifest out of fewer bytes")
    if len({source.digest for source in manifest.sources} - set(sizes)) < len(manifest.sources):
        raise ManifestError("a source has the digest of a part or of another source")


def block_count(size: int) -> int:
    return -(-size // BLOCK)


def block_size(size: int, number: int) -> int:
    """Bytes of block `number` of a part of `size` bytes; 0 beyond its end."""
    return max(0, min(BLOCK, size - number * BLOCK))
