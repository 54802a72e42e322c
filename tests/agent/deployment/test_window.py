"""Which blocks are asked for, and when again."""

import itertools

import pytest

from agent.deployment import window
from agent.deployment.window import Window, want
from agent.wire import codec
from agent.wire.messages import Want

A, B = "aa" * 32, "bb" * 32


def endless():
    numbers = itertools.count()
    return lambda count: [(A, number) for number in itertools.islice(numbers, count)]


def asked(message: Want) -> list[tuple[str, int]]:
    return [
        (part.digest, part.first + bit)
        for part in message.parts
        for bit in range(len(part.missing) * 4)
        if int.from_bytes(bytes.fromhex(part.missing), "little") >> bit & 1
    ]


def test_asks_for_a_window_and_for_more_when_half_of_it_came():
    win, take = Window(size=8), endless()

    assert [number for _, number in win.due(take, 0.0)] == list(range(8))
    assert win.due(take, 0.1) == []
    for number in range(4):
        win.arrived((A, number), 0.2)
    assert [number for _, number in win.due(take, 0.3)] == [8, 9, 10, 11]


def test_asks_again_after_a_silence_and_waits_longer_each_time():
    win, take = Window(size=2), endless()
    first = win.due(take, 0.0)

    assert win.due(take, 1.9) == []
    assert win.due(take, 2.1) == first
    assert win.due(take, 6.0) == []
    assert win.due(take, 6.2) == first
    assert win.due(take, 14.0) == []


def test_a_block_that_came_ends_the_silence():
    win, take = Window(size=4), endless()
    win.due(take, 0.0)
    win.due(take, 2.1)
    win.arrived((A, 0), 2.2)

    assert win.patience() == window.PATIENCE


def test_a_slow_link_is_not_taken_for_a_lost_one():
    win, take, now = Window(size=4), endless(), 0.0
    win.due(take, now)
    for number in range(3):
        now += 1.5  # one block in 1.5 s
        win.arrived((A, number), now)
        win.due(take, now)

    assert win.due(take, now + 4.0) == []
    assert win.patience() > 5


def test_patience_has_an_end():
    win = Window(size=1)
    win.due(endless(), 0.0)
    now = 0.0
    for _ in range(50):
        now += 100
        win.due(endless(), now)

    assert win.patience() == window.LONGEST


def test_after_a_lost_link_everything_outstanding_is_asked_for_at_once():
    win, take = Window(size=4), endless()
    first = win.due(take, 10.0)
    win.arrived((A, 1), 10.1)
    win.ask_again()

    assert win.due(take, 10.2) == [block for block in first if block != (A, 1)]
    assert win.due(take, 10.3) == []
    win.arrived((A, 0), 10.4)
    assert win.patience() == window.PATIENCE


def test_a_block_nobody_waits_for_changes_nothing():
    win = Window(size=2)
    win.arrived((B, 7), 5.0)

    assert win.patience() == window.PATIENCE


@pytest.mark.parametrize(
    "blocks",
    [
        [(A, 0)],
        [(A, 5), (A, 6), (A, 12)],
        [(A, 0), (B, 0), (B, 1)],
        [(A, 0), (A, 4095)],
        [(A, 0), (A, 4096), (A, 500_000)],
    ],
)
def test_a_want_names_exactly_the_blocks(blocks):
    body = codec.encode(want(blocks))

    assert asked(codec.decode(body, Want)) == blocks
