"""What can go wrong between the server and the disk, and what the device does about it."""

import itertools
import os
import signal
import socket
import time

import msgspec
import pytest

from agent.deployment import window
from agent.wire import manifest as wire
from agent.wire import topics
from agent.wire.messages import Config
from tests.agent.variants import Variant, variant
from tests.agent.waiting import wait_for


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Ask again for a lost block after moments."""
    monkeypatch.setattr(window, "PATIENCE", 0.2)


def large() -> Variant:
    """Some parts of several blocks, some of one."""
    return variant(2.0, ballast=1_500_000, part_bytes=400_000)


def spoil_once(spoil):
    """Apply `spoil` to the first sending of each block."""
    seen = set()

    def maybe(digest, number, data):
        if (digest, number) in seen:
            return data
        seen.add((digest, number))
        return spoil(data)

    return maybe


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: b"",
        lambda data: data + b"x",
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: None,
    ],
    ids=["truncated", "empty", "too long", "a flipped bit", "lost"],
)
def test_a_bad_block_is_fetched_again(server, device, spoil):
    made = variant(2.0, ballast=300_000, part_bytes=100_000)
    server.spoil = spoil_once(spoil)
    device()
    server.offer(made)
    server.wish(made.digest, "p-1")

    server.ended("p-1", "active")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: data[:-1], "instead of"),
        (lambda data: data + b"x" * 900_000, "instead of"),
        (lambda data: bytes([data[0] ^ 1]) + data[1:], "another digest"),
    ],
    ids=["truncated", "endless", "a flipped bit"],
)
def test_a_part_that_is_bad_three_times_ends_it_and_the_old_one_goes_on(server, device, spoil, words):
    good, bad = variant(1.0), variant(2.0)
    there = device()
    server.offer(good)
    server.wish(good.digest, "p-1")
    server.ended("p-1", "active")
    server.spoil = lambda digest, _number, data: data if digest in good.parts else spoil(data)
    server.offer(bad)
    server.wish(bad.digest, "p-2")

    report = server.ended("p-2", "failed")
    assert "3 times" in report.reason and words in report.reason
    assert there.saved.active.manifest == good.digest
    wait_for("the rest to be removed", lambda: not list(there.data.joinpath("parts").iterdir()))


def test_blocks_twice_and_out_of_order_make_no_difference(server, device):
    made, held = large(), []

    def shuffle(digest, number, data):
        """Hold three blocks back and send them in reverse, each twice."""
        held.append((digest, number, data))
        if len(held) == 3 or number == 0:
            for part, place, block in (*reversed(held), *held):
                server.publish(topics.down_block("d-1", part, place), block)
            held.clear()

    server.spoil = shuffle
    device()
    server.offer(made)
    server.wish(made.digest, "p-1")

    server.ended("p-1", "active")


def test_blocks_that_nobody_asked_for_are_not_kept(server, device):
    made = large()
    there = device()
    server.offer(made)
    for number in range(50):
        server.publish(topics.down_block("d-1", "ab" * 32, number), b"x" * wire.BLOCK)
        server.publish(topics.down_block("d-1", made.manifest.parts[0].digest, 1000 + number), b"x" * wire.BLOCK)
    server.wish(made.digest, "p-1")

    server.ended("p-1", "active")
    wait_for("the rest to be removed", lambda: not list(there.data.joinpath("parts").iterdir()))


def test_a_drip_slow_transfer_arrives_and_tells_its_progress(server, device):
    made = variant(2.0, ballast=700_000, part_bytes=70_000)
    waiting: list[tuple[str, int, bytes]] = []
    server.spoil = lambda *block: waiting.append(block)
    device()
    server.offer(made)
    server.wish(made.digest, "p-1")

    def drip() -> bool:
        if waiting:
            digest, number, data = waiting.pop(0)
            server.publish(topics.down_block("d-1", digest, number), data)
        return "active" in server.path("p-1")

    wait_for("the end", drip)
    assert server.path("p-1")[0] == "downloading"


def test_what_is_here_already_is_not_fetched_again(server, device):
    first, second = variant(1.0, ballast=1_000_000), variant(2.0, ballast=1_000_000)
    device()
    server.offer(first)
    server.wish(first.digest, "p-1")
    server.ended("p-1", "active")
    server.wanted.clear()
    server.offer(second)
    server.wish(second.digest, "p-2")
    server.ended("p-2", "active")

    assert {digest for digest, _ in server.wanted} == set(second.parts) - set(first.parts)


def test_going_back_to_the_previous_one_fetches_nothing(server, device):
    first, second = variant(1.0, ballast=500_000), variant(2.0, ballast=500_000)
    device()
    for number, each in enumerate((first, second)):
        server.offer(each)
        server.wish(each.digest, f"p-{number}")
        server.ended(f"p-{number}", "active")
    server.wanted.clear()
    server.wish(first.digest, "p-9")

    server.ended("p-9", "active")
    assert server.wanted == []


def test_a_broker_that_restarts_in_the_middle_only_delays_it(server, device, broker):
    made, count = large(), itertools.count()
    halfway = len(made.parts)
    server.spoil = lambda _digest, _number, data: data if next(count) < halfway else None
    there = device()
    server.offer(made)
    server.wish(made.digest, "p-1")
    wait_for("half of it", lambda: next(count) > halfway)
    broker.stop()
    wait_for("the loss", lambda: not there.agent._connection.connected)
    server.spoil = lambda _digest, _number, data: data
    broker.start()
    # The broker has forgotten what it retained; the gateway says it again.
    wait_for("the server's link", server._client.is_connected)
    server.offer(made)

    server.ended("p-1", "active")


def test_a_link_that_comes_and_goes_only_delays_it(server, device):
    made = variant(2.0, ballast=4_000_000, part_bytes=400_000)
    there = device()
    server.offer(made)
    server.wish(made.digest, "p-1")
    for cut in range(1, 5):
        wait_for("some more of it", lambda cut=cut: server.blocks_sent >= 4 * cut)
        there.agent._connection.client.socket().shutdown(socket.SHUT_RDWR)
        wait_for("the link again", lambda cut=cut: there.agent._delivery.connects > cut)

    server.ended("p-1", "active")


def test_a_device_that_stands_still_goes_on(server, agent):
    made = variant(2.0, ballast=4_000_000, part_bytes=400_000)
    server.spoil = lambda _digest, _number, data: time.sleep(0.02) or data
    there = agent()
    server.offer(made)
    server.wish(made.digest, "p-1")
    wait_for("some of it", lambda: server.blocks_sent > 8)
    os.kill(there.pid, signal.SIGSTOP)
    wait_for("the server to have sent what was asked for", lambda: server.blocks_sent >= len(server.wanted))
    os.kill(there.pid, signal.SIGCONT)

    server.ended("p-1", "active")


# --- Blocks for many at once ---


def casting(server, made, share=lambda number: True):
    """Answer what the device asks for by casting it, where `share` says so; else to the device."""

    def cast(digest, number, data):
        if not share(number):
            return data
        server.publish(topics.cast_block(made.digest, digest, number), data)
        return None

    server.spoil = cast


@pytest.mark.parametrize("share", [lambda number: True, lambda number: number % 2 == 0], ids=["all", "half"])
def test_blocks_that_are_cast_count_like_those_for_the_device(server, device, share):
    made = large()
    casting(server, made, share)
    device()
    server.offer(made)
    server.wish(made.digest, "p-1")

    server.ended("p-1", "active")


def test_a_device_says_once_what_it_lacks_and_takes_all_of_it_unasked(server, device):
    made, wants = large(), []
    server.on_want = wants.append
    server.spoil = lambda *_: None
    there = device()
    server.offer(made)
    server.wish(made.digest, "p-1")
    first = wait_for("the want", lambda: wants[:1])[0]
    blocks = {(digest, number) for digest, data in made.parts.items() for number in range(wire.block_count(len(data)))}
    named = {(part.digest, part.first + bit) for part in first.lacks for bit in _bits(part.missing)}
    assert (first.manifest, named) == (made.digest, blocks)
    for digest, number in sorted(blocks, reverse=True):
        data = made.parts[digest][number * wire.BLOCK : (number + 1) * wire.BLOCK]
        server.publish(topics.cast_block(made.digest, digest, number), data)

    server.ended("p-1", "active")
    assert all(not want.lacks for want in wants[1:])
    assert topics.cast_filter(made.digest) not in there.agent._connection._filters, "it listens no longer"


def test_what_was_named_is_not_asked_for_while_it_comes(server, device):
    """A device that missed some of a cast names all it lacks once, and is sent it as slowly as its link takes it."""
    made, wants = variant(2.0, ballast=6_000_000), []
    server.on_want = wants.append
    server.spoil = lambda *_: None
    device()
    server.offer(made)
    server.wish(made.digest, "p-1")
    wait_for("the first want", lambda: wants)
    blocks = [(digest, number) for digest, data in made.parts.items() for number in range(wire.block_count(len(data)))]
    assert len(blocks) > 2 * window.SIZE // 2 + 8

    def send(topic, digest, number):
        server.publish(topic, made.parts[digest][number * wire.BLOCK : (number + 1) * wire.BLOCK])

    send(topics.cast_block(made.digest, *blocks[0]), *blocks[0])
    wait_for("what it still lacks", lambda: any(want.lacks for want in wants[1:]), seconds=30)
    wants.clear()
    for digest, number in blocks[1:]:
        send(topics.down_block("d-1", digest, number), digest, number)
        time.sleep(0.05)

    server.ended("p-1", "active")
    assert wants == []


def _bits(missing: str) -> list[int]:
    value = int.from_bytes(bytes.fromhex(missing), "little")
    return [bit for bit in range(value.bit_length()) if value >> bit & 1]


def test_a_device_with_a_limit_of_its_own_takes_no_part(server, device):
    made, wants = variant(2.0), []
    server.on_want = wants.append
    device()
    server.offer(made)
    server.wish(made.digest, "p-1", Config(watch_seconds=0, transfer_rate=1e6))

    server.ended("p-1", "active")
    assert all(not want.lacks and not want.manifest for want in wants)


# --- Manifests ---


def reject(server, device, made: Variant, data: bytes | None = None) -> str:
    device()
    server.offer(made, data=data)
    server.wish(made.digest, "p-1")
    reason = server.ended("p-1", "rejected").reason
    assert server.path("p-1") == ["rejected"]
    assert server.wanted == []
    return reason


def test_a_flipped_bit_in_the_manifest(server, device):
    made = variant()

    assert "has the digest" in reject(server, device, made, bytes([made.data[0] ^ 1]) + made.data[1:])


def test_a_manifest_whose_sizes_do_not_add_up(server, device):
    assert "add up to" in reject(server, device, variant(size=12345))


def test_a_variant_for_another_class(server, device):
    assert "made for mobile devices; this is an embedded device" in reject(
        server, device, variant(device_class="mobile")
    )


def test_a_model_that_does_not_fit_the_memory(server, device):
    reason = reject(server, device, variant(memory_bytes=3 * 1024**3 + 1))

    assert reason == "The model needs 3,072.0 MiB of memory; a model may take 3,072.0 MiB on this device."


def test_an_artifact_that_does_not_fit_the_storage(server, device):
    made = variant().manifest
    parts = (*made.parts, wire.Part("ef" * 32, 2**30, "model"))
    huge = Variant(msgspec.structs.replace(made, parts=parts, size=made.size + 2**30), {})

    assert "free on this device" in reject(server, device, huge)


def test_an_operator_can_call_the_device_another_class(server, device):
    made = variant(device_class="mobile")
    device()
    server.offer(made)
    server.wish(made.digest, "p-1", Config(watch_seconds=0, device_class="mobile"))

    server.ended("p-1", "active")
    assert server.states[-1].device_class == "mobile"


def test_parts_of_two_releases_under_one_manifest_are_not_installed(server, device):
    first, second = variant(1.0), variant(2.0)
    golden = second.manifest.of("golden")[0]
    parts = (*(part for part in first.manifest.parts if part.role != "golden"), golden)
    mixed = Variant(
        msgspec.structs.replace(first.manifest, parts=parts, size=sum(part.size for part in parts)),
        {**first.parts, **second.parts},
    )
    device()
    server.offer(mixed)
    server.wish(mixed.digest, "p-1")

    assert "have not the digest" in server.ended("p-1", "failed").reason
    assert server.path("p-1") == ["downloading", "verified", "installing", "failed"]


def test_a_manifest_that_comes_later_is_waited_for(server, device):
    made = variant()
    device()
    server.wish(made.digest, "p-1")
    wait_for("the device", lambda: server.states)
    server.offer(made)

    server.ended("p-1", "active")
