"""A part comes in the form that takes the fewest bytes, and is right or is not taken."""

import random

import bsdiff4
import msgspec
import pytest
from backports import zstd

from agent.deployment import sources
from agent.deployment.sources import SourceError
from agent.wire import manifest as wire
from tests.agent.variants import Variant, golden, variant
from tests.agent.waiting import wait_for

RNG = random.Random(5)  # noqa: S311 -- bytes for tests


def part_of(data: bytes) -> wire.Part:
    return wire.Part(wire.digest_of(data), len(data), "model")


def source_of(part: wire.Part, data: bytes, base: bytes | None = None) -> wire.Source:
    return wire.Source(
        part=part.digest,
        how="zstd" if base is None else "bsdiff",
        digest=wire.digest_of(data),
        size=len(data),
        base="" if base is None else wire.digest_of(base),
    )


OLD = RNG.randbytes(300_000)
NEW = OLD[:100_000] + b"changed" + OLD[100_007:]


def made(tmp_path, came: bytes, part: wire.Part, base: bytes | None = None) -> bytes:
    (tmp_path / "came").write_bytes(came)
    sources.make(source_of(part, came, base), tmp_path / "came", base, part, tmp_path / "made")
    return (tmp_path / "made").read_bytes()


def test_a_compressed_part_comes_out_as_it_was(tmp_path):
    data = b"text " * 1_000_000

    assert made(tmp_path, zstd.compress(data), part_of(data)) == data


def test_a_patch_makes_the_new_part_of_the_old_one(tmp_path):
    patch = bsdiff4.diff(OLD, NEW)

    assert len(patch) < 1000
    assert made(tmp_path, patch, part_of(NEW), OLD) == NEW


@pytest.mark.parametrize(
    ("came", "base", "words"),
    [
        (zstd.compress(NEW)[:-9], None, "ends too early"),
        (b"nothing of the kind" * 10, None, "cannot be decompressed"),
        (zstd.compress(OLD), None, "another digest"),
        (zstd.compress(NEW + b"x" * 10_000_000), None, "more than"),
        (bsdiff4.diff(OLD, NEW), NEW, "another digest"),
        (bsdiff4.diff(OLD, NEW + b"more"), OLD, "another size"),
        (bsdiff4.diff(OLD, NEW)[:60], OLD, "cannot be patched"),
        (b"", OLD, "another size"),
    ],
    ids=["cut", "junk", "of another part", "a bomb", "the wrong base", "longer", "a cut patch", "no patch"],
)
def test_what_does_not_make_the_part_is_not_taken(tmp_path, came, base, words):
    with pytest.raises(SourceError, match=words):
        made(tmp_path, came, part_of(NEW), base)
    assert not (tmp_path / "made").exists()


# --- On a device ---


def with_sources(made: Variant, *given: tuple[wire.Source, bytes]) -> Variant:
    """The variant with these sources, whose bytes the server then holds too."""
    parts = {**made.parts, **{source.digest: data for source, data in given}}
    return Variant(msgspec.structs.replace(made.manifest, sources=tuple(source for source, _ in given)), parts)


def next_version() -> tuple[Variant, Variant, list[tuple[wire.Source, bytes]]]:
    """Two variants, and sources of the second: a patch and zstd of its model, zstd of its golden observations."""
    first, second = variant(1.0, version="1", ballast=200_000), variant(2.0, version="2", ballast=200_000)
    given = []
    old, new = first.manifest.of("model")[0], second.manifest.of("model")[0]
    patch = bsdiff4.diff(first.parts[old.digest], second.parts[new.digest])
    given.append((source_of(new, patch, first.parts[old.digest]), patch))
    for role in ("model", "golden"):
        part = second.manifest.of(role)[0]
        packed = zstd.compress(second.parts[part.digest], level=12)
        if len(packed) < part.size:
            given.append((source_of(part, packed), packed))
    return first, second, given


def test_the_smallest_source_is_fetched_and_the_part_itself_is_not(server, device):
    first, second, given = next_version()
    device()
    server.offer(first)
    server.wish(first.digest, "p-1")
    server.ended("p-1", "active")
    second = with_sources(second, *given)
    server.wanted.clear()
    server.offer(second)
    server.wish(second.digest, "p-2")
    server.ended("p-2", "active")

    asked = {digest for digest, _ in server.wanted}
    patched, golden_packed = given[0][0], given[-1][0]
    assert asked == {patched.digest, golden_packed.digest}
    assert patched.size < 2000


def test_a_device_without_the_base_takes_another_source(server, device):
    _, second, given = next_version()
    second = with_sources(second, *given)
    there = device()
    server.offer(second)
    server.wish(second.digest, "p-2")
    server.ended("p-2", "active")

    assert given[0][0].digest not in {digest for digest, _ in server.wanted}
    wait_for("the rest to be removed", lambda: not list((there.data / "parts").iterdir()))


def test_a_source_that_makes_something_else_costs_a_detour_and_nothing_more(server, device):
    made = variant(2.0, ballast=200_000)
    part = made.manifest.of("golden")[0]
    wrong = zstd.compress(golden(7.0))
    device()
    made = with_sources(made, (source_of(part, wrong), wrong))
    server.offer(made)
    server.wish(made.digest, "p-1")

    server.ended("p-1", "active")
    assert part.digest in {digest for digest, _ in server.wanted}


def test_a_power_cut_between_a_source_and_its_part_costs_no_byte(server, device, tmp_path):
    made = variant(2.0, ballast=200_000)
    part = made.manifest.of("golden")[0]
    packed = zstd.compress(made.parts[part.digest])
    source = source_of(part, packed)
    made = with_sources(made, (source, packed))
    parts = tmp_path / "data" / "parts"
    parts.mkdir(parents=True)
    (parts / source.digest).write_bytes(packed)
    device()
    server.offer(made)
    server.wish(made.digest, "p-1")

    server.ended("p-1", "active")
    assert not {part.digest, source.digest} & {digest for digest, _ in server.wanted}


@pytest.mark.parametrize("changes", [{"base": "ab" * 32}, {"size": 10**9}, {"part": "cd" * 32}])
def test_a_source_of_no_use_makes_the_manifest_invalid(changes):
    made = variant(2.0)
    part = made.manifest.of("golden")[0]
    source = msgspec.structs.replace(source_of(part, b"x"), **changes)
    with pytest.raises(wire.ManifestError, match="makes no part"):
        wire.check(msgspec.structs.replace(made.manifest, sources=(source,)))
