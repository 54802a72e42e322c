"""What a manifest promises, and the arithmetic of blocks."""

import msgspec
import pytest

from agent.wire import manifest as wire
from tests.agent.variants import variant


def test_a_packed_variant_is_consistent():
    wire.check(variant().manifest)


def test_the_same_manifest_has_the_same_bytes():
    made = variant().manifest
    again = msgspec.json.decode(wire.encode(made), type=wire.Manifest)

    assert wire.encode(again) == wire.encode(made)


def test_sizes_that_do_not_add_up_are_refused():
    with pytest.raises(wire.ManifestError, match="add up to"):
        wire.check(msgspec.structs.replace(variant().manifest, size=1))


@pytest.mark.parametrize("role", ["model", "golden"])
def test_each_needed_role_is_asked_for(role):
    made = variant().manifest
    parts = tuple(part for part in made.parts if part.role != role)
    lacking = msgspec.structs.replace(made, parts=parts, size=sum(part.size for part in parts))

    with pytest.raises(wire.ManifestError, match=f"no part of role {role}"):
        wire.check(lacking)


def test_a_policy_card_is_not_needed():
    wire.check(variant(with_card=False).manifest)


@pytest.mark.parametrize("size", [1, wire.BLOCK - 1, wire.BLOCK, wire.BLOCK + 1, 10 * wire.BLOCK, 10 * wire.BLOCK + 7])
def test_the_blocks_of_a_part_are_the_part(size):
    count = wire.block_count(size)

    assert sum(wire.block_size(size, number) for number in range(count)) == size
    assert all(0 < wire.block_size(size, number) <= wire.BLOCK for number in range(count))
    assert wire.block_size(size, count) == 0
