"""A lane by itself, with a connection that writes down what it was given."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import wraps

import pytest

from fleet.brokers.embedded import frames
from fleet.brokers.embedded.lanes import OVERHEAD, Budget, Lane, Publication
from fleet.brokers.embedded.limits import LaneLimits

BLOCK = "down/d1/block/abc/"
LIMITS = LaneLimits(
    total_bytes=100_000,
    mark_bytes=50_000,
    patience=0.05,
    window_messages=4,
    window_bytes=30_000,
    away_bytes=20_000,
)


@dataclass
class Wire:
    """A Sink that remembers, and can stop taking."""

    writable: bool = True
    sent: list[frames.Publish] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)

    def send(self, head: bytes, payload: bytes) -> None:
        splitter = frames.Splitter(1 << 20)
        splitter.feed(head + payload)
        frame = splitter.next()
        assert frame
        self.heads.append(head[0])
        self.sent.append(frames.read_publish(frame))

    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.sent]


def in_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


def lane(*, persistent: bool = True, budget: int = 10**9, limits: LaneLimits = LIMITS) -> tuple[Lane, Budget]:
    purse = Budget(budget)
    return Lane("d1", limits, purse, persistent=persistent), purse


def text(payload: bytes, topic: str = "down/d1/command/c") -> Publication:
    return Publication(topic, payload)


def block(number: int, size: int = 10_000) -> Publication:
    return Publication(f"{BLOCK}{number}", bytes((number,)) * size)


@in_loop
async def test_messages_go_out_in_order_within_the_window_and_go_on_with_acknowledgements():
    made, budget = lane()
    wire = Wire()
    made.attach(wire)
    for number in range(6):
        made.push(text(bytes((number,))), 1)
    assert wire.payloads() == [b"\0", b"\1", b"\2", b"\3"]
    made.acknowledged(wire.sent[1].packet_id)
    assert wire.payloads()[4:] == [b"\4"]
    for message in list(wire.sent):
        made.acknowledged(message.packet_id)
    made.acknowledged(wire.sent[-1].packet_id)
    made.acknowledged(wire.sent[-1].packet_id)  # twice does not hurt
    assert wire.payloads()[5:] == [b"\5"]
    assert len({message.packet_id for message in wire.sent}) == 6
    assert (made.size, budget.used) == (0, 0)


@in_loop
async def test_an_order_overtakes_blocks_that_wait():
    made, _ = lane()
    wire = Wire(writable=False)
    made.attach(wire)
    made.push(block(1), 1)
    made.push(block(2), 1)
    made.push(text(b"stop"), 1)
    wire.writable = True
    made.writable()
    assert wire.payloads()[0] == b"stop"
    assert [message.topic for message in wire.sent[1:]] == [f"{BLOCK}1", f"{BLOCK}2"]


@in_loop
async def test_a_stalled_connection_loses_its_oldest_blocks_and_no_order():
    made, budget = lane()
    wire = Wire(writable=False)
    made.attach(wire)
    made.push(text(b"first order"), 1)
    for number in range(50):
        made.push(block(number), 1)
        assert made.size <= LIMITS.total_bytes
        assert budget.used <= LIMITS.total_bytes
    made.push(text(b"second order"), 1)
    assert made.dropped > 40
    wire.writable = True
    made.writable()
    while made.size:
        made.acknowledged(wire.sent[-1].packet_id)
        for message in wire.sent:
            made.acknowledged(message.packet_id)
    assert wire.payloads()[:2] == [b"first order", b"second order"]
    numbers = [int(message.topic.rsplit("/", 1)[1]) for message in wire.sent[2:]]
    assert numbers == list(range(50 - len(numbers), 50))
    assert len(numbers) >= 8


@in_loop
async def test_a_block_does_not_push_out_orders():
    made, _ = lane()
    made.attach(Wire(writable=False))
    for _ in range(9):
        made.push(text(b"x" * 10_000), 1)
    before = made.size
    assert made.push(block(1), 1) is True
    assert (made.size, made.dropped) == (before, 1)


@in_loop
async def test_orders_alone_are_bounded_too():
    made, budget = lane()
    wire = Wire(writable=False)
    made.attach(wire)
    for number in range(1000):
        made.push(text(number.to_bytes(2, "big") * 500), 1)
    assert made.size <= LIMITS.total_bytes
    wire.writable = True
    made.writable()
    assert wire.sent[0].payload == made.dropped.to_bytes(2, "big") * 500
    made.close()
    assert (made.size, budget.used) == (0, 0)


@in_loop
async def test_what_was_not_acknowledged_comes_again_first_with_its_id_and_marked():
    made, _ = lane()
    wire = Wire()
    made.attach(wire)
    for number in range(6):
        made.push(text(bytes((number,))), 1)
    made.acknowledged(wire.sent[0].packet_id)
    made.detach(wire)
    again = Wire()
    made.attach(again)
    assert again.payloads() == [b"\1", b"\2", b"\3", b"\4"]
    assert [m.packet_id for m in again.sent] == [m.packet_id for m in wire.sent[1:]]
    assert all(head & frames.DUP for head in again.heads)
    for message in list(again.sent):
        made.acknowledged(message.packet_id)
    assert again.payloads()[4:] == [b"\5"]
    assert not again.heads[-1] & frames.DUP


@in_loop
async def test_for_an_absent_client_orders_are_kept_within_a_bound_and_blocks_not_at_all():
    made, budget = lane()
    wire = Wire(writable=False)
    made.attach(wire)
    made.push(block(1), 1)
    made.push(text(b"order 0"), 1)
    made.detach(wire)
    made.push(block(2), 1)
    made.push(text(b"not asked for"), 0)
    for number in range(1, 200):
        made.push(text(f"order {number}".encode()), 1)
    assert made.size <= LIMITS.away_bytes
    assert budget.used <= LIMITS.away_bytes
    back = Wire()
    made.attach(back)
    while made.size:
        for message in back.sent:
            made.acknowledged(message.packet_id)
    kept = LIMITS.away_bytes // (len("down/d1/command/c") + len("order 199") + OVERHEAD)
    assert back.payloads() == [f"order {number}".encode() for number in range(200 - kept, 200)]


@in_loop
async def test_a_clean_session_keeps_nothing():
    made, budget = lane(persistent=False)
    wire = Wire()
    made.attach(wire)
    made.push(text(b"order"), 1)
    made.detach(wire)
    made.push(text(b"later"), 1)
    assert (made.size, budget.used) == (0, 0)


@in_loop
async def test_an_earlier_connection_that_ends_late_does_not_detach_the_new_one():
    made, _ = lane()
    old, new = Wire(), Wire()
    made.attach(old)
    made.attach(new)
    made.detach(old)
    made.push(text(b"order"), 1)
    assert new.payloads() == [b"order"]


@in_loop
async def test_a_payload_counts_once_however_many_wait_for_it():
    budget = Budget(25_000)
    lanes = [Lane(f"d{number}", LIMITS, budget, persistent=True) for number in range(10)]
    for each in lanes:
        each.attach(Wire(writable=False))
    shared, second, third = block(1), block(2), block(3)
    for publication in (shared, second, third):
        for each in lanes:
            each.push(publication, 1)
    assert budget.used == 20_000  # the third has no room in all lanes together
    assert all(each.dropped == 1 for each in lanes)
    for each in lanes:
        each.close()
    assert budget.used == 0


@in_loop
async def test_publishers_wait_until_half_of_the_mark_is_left():
    made, _ = lane(limits=LaneLimits(100_000, 50_000, 10.0, 100, 100_000, 20_000))
    wire = Wire()
    made.attach(wire)
    eased = asyncio.Event()
    asked = [made.push(block(number), 1) for number in range(6)]
    assert asked == [False, False, False, False, True, True]
    made.when_eased(eased.set)
    for message in wire.sent[:3]:
        made.acknowledged(message.packet_id)
    await asyncio.sleep(0)
    assert not eased.is_set()
    made.acknowledged(wire.sent[3].packet_id)
    await asyncio.wait_for(eased.wait(), 1)
    assert not made.congested


@in_loop
async def test_nobody_waits_for_a_laggard_until_it_has_caught_up():
    made, _ = lane()
    wire = Wire(writable=False)
    made.attach(wire)
    eased = asyncio.Event()
    while not made.push(block(0), 1):
        pass
    made.when_eased(eased.set)
    await asyncio.wait_for(eased.wait(), 2)  # its patience is 50 ms
    assert made.push(block(1), 1) is False
    wire.writable = True
    made.writable()
    while made.size:
        for message in list(wire.sent):
            made.acknowledged(message.packet_id)
    wire.writable = False
    while not made.push(block(2), 1):
        assert made.size < LIMITS.mark_bytes + 20_000, "it should count as congested again"


@pytest.mark.parametrize("end", ["detach", "close"])
def test_nobody_waits_for_a_client_that_has_gone(end):
    async def run() -> None:
        made, _ = lane(limits=LaneLimits(100_000, 50_000, 3600.0, 100, 100_000, 20_000))
        wire = Wire(writable=False)
        made.attach(wire)
        eased = asyncio.Event()
        while not made.push(block(0), 1):
            pass
        made.when_eased(eased.set)
        if end == "detach":
            made.detach(wire)
        else:
            made.close()
        await asyncio.wait_for(eased.wait(), 1)

    asyncio.run(run())


@in_loop
async def test_a_retained_message_costs_a_lane_only_its_bookkeeping():
    made, budget = lane()
    made.attach(Wire(writable=False))
    for number in range(50):
        made.push(Publication(f"cast/manifest/{number}", b"x" * 50_000, kept=True), 1, retain=True)
    assert made.dropped == 0
    assert made.size < 20_000
    assert budget.used == 0
