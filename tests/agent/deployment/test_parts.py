"""One part on its way to the disk."""

import random

import pytest

from agent.deployment.parts import PartFile
from agent.wire import manifest as wire

RNG = random.Random(4)  # noqa: S311 -- bytes for tests


def part_of(data: bytes) -> wire.Part:
    return wire.Part(wire.digest_of(data), len(data), "model")


def blocks_of(data: bytes) -> list[bytes]:
    return [data[start : start + wire.BLOCK] for start in range(0, len(data), wire.BLOCK)]


DATA = RNG.randbytes(5 * wire.BLOCK + 77)


@pytest.mark.parametrize("size", [1, wire.BLOCK, wire.BLOCK + 1, 9 * wire.BLOCK + 5])
def test_blocks_in_any_order_become_the_part(tmp_path, size):
    data = RNG.randbytes(size)
    file = PartFile(tmp_path, part_of(data))
    numbered = list(enumerate(blocks_of(data)))
    RNG.shuffle(numbered)
    for number, block in numbered:
        assert not file.complete
        assert file.write(number, block)
    assert file.complete
    assert file.received == size
    assert file.finish()

    assert (tmp_path / part_of(data).digest).read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == [part_of(data).digest]


def test_a_block_twice_counts_once(tmp_path):
    file = PartFile(tmp_path, part_of(DATA))
    first = blocks_of(DATA)[0]

    assert file.write(0, first)
    assert not file.write(0, first)
    assert file.received == wire.BLOCK
    file.sync()


def test_what_is_there_is_there_after_a_restart(tmp_path):
    file = PartFile(tmp_path, part_of(DATA))
    for number in (0, 3, 5):
        file.write(number, blocks_of(DATA)[number])
    file.sync()

    again = PartFile(tmp_path, part_of(DATA))
    assert list(again.missing()) == [1, 2, 4]
    assert again.received == 2 * wire.BLOCK + 77
    for number in again.missing():
        again.write(number, blocks_of(DATA)[number])
    assert again.finish()


def test_a_kill_costs_nothing(tmp_path):
    file = PartFile(tmp_path, part_of(DATA))
    for number in (4, 1):
        file.write(number, blocks_of(DATA)[number])
    del file  # nothing was closed in good order

    assert list(PartFile(tmp_path, part_of(DATA)).missing()) == [0, 2, 3, 5]


@pytest.mark.parametrize("lost", ["data", "notes"])
def test_a_power_cut_costs_what_was_not_synced_and_nothing_else(tmp_path, lost):
    """The disk has kept one of the two writes of block 1, and not the other."""
    file = PartFile(tmp_path, part_of(DATA))
    for number in (0, 1):
        file.write(number, blocks_of(DATA)[number])
    name, at, size = ("partial", wire.BLOCK, wire.BLOCK) if lost == "data" else ("blocks", 4, 4)
    with (tmp_path / f"{part_of(DATA).digest}.{name}").open("r+b") as raw:
        raw.seek(at)
        raw.write(bytes(size))

    assert list(PartFile(tmp_path, part_of(DATA)).missing()) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("notes", [b"", b"\xff", b"\xff" * 9, b"\xff" * 100, bytes(range(24))])
def test_notes_that_lie_are_not_believed(tmp_path, notes):
    PartFile(tmp_path, part_of(DATA))
    (tmp_path / f"{part_of(DATA).digest}.blocks").write_bytes(notes)

    file = PartFile(tmp_path, part_of(DATA))
    assert list(file.missing()) == [0, 1, 2, 3, 4, 5]
    for number in list(file.missing()):
        file.write(number, blocks_of(DATA)[number])
    assert file.finish()
    assert (tmp_path / part_of(DATA).digest).read_bytes() == DATA


def test_notes_without_their_data_are_not_believed(tmp_path):
    file = PartFile(tmp_path, part_of(DATA))
    file.write(0, blocks_of(DATA)[0])
    file.sync()
    (tmp_path / f"{part_of(DATA).digest}.partial").unlink()

    again = PartFile(tmp_path, part_of(DATA))
    assert list(again.missing()) == [0, 1, 2, 3, 4, 5]


def test_a_flipped_bit_is_found_and_the_part_begins_anew(tmp_path):
    file = PartFile(tmp_path, part_of(DATA))
    blocks = blocks_of(DATA)
    blocks[2] = bytes([blocks[2][0] ^ 4]) + blocks[2][1:]
    for number, block in enumerate(blocks):
        file.write(number, block)

    assert not file.finish()
    assert list(file.missing()) == [0, 1, 2, 3, 4, 5]
    assert not (tmp_path / part_of(DATA).digest).exists()
    file.sync()
