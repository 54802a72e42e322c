"""The block server reads a want the way devices write it."""

from agent.wire.messages import Want, WantPart
from fleet.gateway.blocks import PER_DEVICE, BlockServer, wanted


def test_bits_are_read_least_significant_first_from_the_first_block_on():
    want = Want(
        parts=(WantPart(digest="ab" * 32, first=8, missing="0580"), WantPart(digest="cd" * 32, first=0, missing="01"))
    )
    assert wanted(want) == [("ab" * 32, 8), ("ab" * 32, 10), ("ab" * 32, 23), ("cd" * 32, 0)]


def test_a_device_cannot_queue_without_end_and_devices_take_turns():
    server = BlockServer()
    greedy = Want(parts=(WantPart(digest="ab" * 32, first=0, missing="ff" * 512),))
    server.ask("greedy", greedy)
    server.ask("greedy", greedy)
    server.ask("modest", Want(parts=(WantPart(digest="cd" * 32, first=0, missing="01"),)))
    first, second = server._next(), server._next()
    assert {first[0], second[0]} == {"greedy", "modest"}
    rest = 0
    while server._queues:
        server._next()
        rest += 1
    assert rest == PER_DEVICE - 1
