"""Clients that are away, stalled or slow: what the broker holds for them, and what they get."""

import socket
import threading
import time
from contextlib import closing

from fleet.brokers.embedded.frames import Splitter, puback, read_publish
from fleet.brokers.embedded.limits import MIB, LaneLimits
from tests.fleet.brokers.conftest import SECRETS
from tests.fleet.brokers.peers import (
    CAST,
    DOWN,
    UP,
    answer,
    connect_packet,
    dial,
    publish_packet,
    subscribe_packet,
    until,
)

BLOCK = bytes(128 * 1024)
ME, OTHER = "dev001", "dev002"
PATIENCE = 0.3
#: As in production, with less patience: these tests wait for it to end.
DEVICE_LANE = LaneLimits(4 * MIB, MIB, PATIENCE, 64, MIB, 256 * 1024)


class SlowReader:
    """A device with a small receive buffer that reads only when told to."""

    def __init__(self, port: int, *filters: str) -> None:
        self.line = socket.socket()
        self.line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        self.line.settimeout(10)
        self.line.connect(("127.0.0.1", port))
        self.line.sendall(connect_packet(ME, SECRETS[ME], clean=False, keepalive=300))
        assert answer(self.line)[3] == 0
        for topic_filter in filters:
            self.line.sendall(subscribe_packet(topic_filter))
            assert answer(self.line)[4] == 1
        self.topics: list[str] = []

    def read(self, until_topic: str, bytes_per_second: float = 1e12) -> None:
        """Read and acknowledge until this topic has come."""
        splitter, began, size = Splitter(1 << 20), time.monotonic(), 0
        while until_topic not in self.topics:
            data = self.line.recv(1 << 16)
            assert data, "the broker closed the connection"
            size += len(data)
            splitter.feed(data)
            while (frame := splitter.next()) is not None:
                message = read_publish(frame)
                self.topics.append(message.topic)
                self.line.sendall(puback(message.packet_id))
            ahead = size / bytes_per_second - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(ahead)  # this is what makes it slow

    def close(self) -> None:
        self.line.close()


def push_blocks(server, count: int, topic: str = f"{DOWN}/{ME}/block/abc") -> None:
    """In a window of 20, as the gateway does."""
    under_way = []
    for number in range(count):
        under_way.append(server.client.publish(f"{topic}/{number}", BLOCK, 1))
        if len(under_way) > 20:
            under_way.pop(0).wait_for_publish(10)
    for info in under_way:
        info.wait_for_publish(10)


def block_numbers(topics: list[str]) -> list[int]:
    return [int(topic.rsplit("/", 1)[1]) for topic in topics if "/block/" in topic]


def test_blocks_for_an_absent_device_are_not_kept_and_its_orders_are(start, join):
    broker = start()
    device = join(broker, ME, clean=False)
    device.subscribe(f"{DOWN}/{ME}/#", f"{CAST}/#")
    device.leave()
    server = join(broker, "server")
    for number in range(10):
        push_blocks(server, 10)
        push_blocks(server, 10, f"{CAST}/block/abc")
        server.publish(f"{DOWN}/{ME}/command/c{number}", b"order")
    assert broker.queued_bytes < 256 * 1024
    back = join(broker, ME, clean=False)
    assert back.session_present
    assert until(lambda: f"{DOWN}/{ME}/command/c9" in back.topics())
    assert back.topics() == [f"{DOWN}/{ME}/command/c{number}" for number in range(10)]
    assert until(lambda: broker.queued_bytes == 0)


def test_orders_for_an_absent_device_are_bounded_too_and_the_latest_are_kept(start, join):
    broker = start()
    device = join(broker, ME, clean=False)
    device.subscribe(f"{DOWN}/{ME}/#")
    device.leave()
    server = join(broker, "server")
    for number in range(100):
        server.publish(f"{DOWN}/{ME}/command/c{number}", bytes(10_000))
    assert broker.queued_bytes <= 256 * 1024
    back = join(broker, ME, clean=False)
    assert until(lambda: f"{DOWN}/{ME}/command/c99" in back.topics())
    numbers = [int(topic.rsplit("c", 1)[1]) for topic in back.topics()]
    assert numbers == list(range(100 - len(numbers), 100))
    assert len(numbers) >= 20


def test_a_stalled_device_costs_a_bounded_amount_and_holds_nobody_up_for_long(start, join):
    broker = start(device_lane=DEVICE_LANE)
    server, other = join(broker, "server"), join(broker, OTHER)
    other.subscribe(f"{DOWN}/{OTHER}/#")
    with closing(SlowReader(broker.port, f"{DOWN}/{ME}/#")) as stalled:
        began = time.monotonic()
        push_blocks(server, 400)
        assert time.monotonic() - began < PATIENCE + 3
        assert broker.queued_bytes <= 4 * MIB
        server.publish(f"{DOWN}/{ME}/command/c1", b"order")
        server.publish(f"{DOWN}/{OTHER}/command/c1", b"for the other")
        assert other.saw(b"for the other", 1)
        # It wakes up: what was dropped it would ask for again, and its order is there.
        stalled.read(f"{DOWN}/{ME}/block/abc/399")
        assert f"{DOWN}/{ME}/command/c1" in stalled.topics
        numbers = block_numbers(stalled.topics)
        assert numbers == sorted(numbers)
        assert 8 < len(numbers) < 100
    assert until(lambda: broker.queued_bytes == 0)


def test_a_slow_device_slows_its_publisher_down_and_loses_nothing(start, join):
    broker = start()
    server = join(broker, "server")
    with closing(SlowReader(broker.port, f"{DOWN}/{ME}/#")) as slow:
        pushing = threading.Thread(target=push_blocks, args=(server, 80))
        pushing.start()
        slow.read(f"{DOWN}/{ME}/block/abc/79", bytes_per_second=10e6)
        pushing.join()
        assert block_numbers(slow.topics) == list(range(80))


def test_a_broadcast_reaches_every_device_whole(start, join):
    broker = start()
    devices = [join(broker, f"dev{number:03d}") for number in range(3)]
    for device in devices:
        device.subscribe(f"{CAST}/#")
    push_blocks(join(broker, "server"), 100, f"{CAST}/block/abc")
    for device in devices:
        assert until(lambda device=device: len(device.got) == 100, 10)
        assert block_numbers(device.topics()) == list(range(100))


def test_what_a_client_did_not_acknowledge_comes_again_when_it_is_back(start, join):
    broker = start()
    gateway = join(broker, "server", client_id="server-gateway", clean=False, manual_ack=True)
    gateway.subscribe(f"{UP}/#")
    device = join(broker, ME)
    for number in range(30):
        device.publish(f"{UP}/{ME}/telemetry", f"sample {number}".encode())
    assert gateway.saw(b"sample 29")
    gateway.cut()
    device.publish(f"{UP}/{ME}/telemetry", b"sample 30")
    back = join(broker, "server", client_id="server-gateway", clean=False)
    assert back.session_present
    assert back.saw(b"sample 30")
    assert [payload for _, payload, _ in back.got] == [f"sample {number}".encode() for number in range(31)]


def test_devices_wait_for_a_gateway_that_is_stuck_and_lose_nothing(start, join):
    lane = LaneLimits(4 * MIB, 400_000, 3600.0, 1000, 200_000, 4 * MIB)
    broker = start(server_lane=lane)
    gateway = join(broker, "server", client_id="server-gateway", clean=False, manual_ack=True)
    gateway.subscribe(f"{UP}/#")
    stuck: list = []
    gateway.client.on_message = lambda _c, _d, message: stuck.append(message)
    device = dial(broker.port)
    device.sendall(connect_packet(ME, SECRETS[ME]))
    assert answer(device)[3] == 0
    flood = b"".join(publish_packet(f"{UP}/{ME}/telemetry", n.to_bytes(2, "big") * 5000, n + 1) for n in range(600))
    # It does not wait for acknowledgements, as paho would; so it is not read any more.
    sending = threading.Thread(target=device.sendall, args=(flood,))
    sending.start()
    assert until(lambda: broker.queued_bytes > 900_000)
    assert broker.queued_bytes < 400_000 + 65 * 10_000
    got = []

    def take(_client, _data, message) -> None:
        got.append(int.from_bytes(message.payload[:2], "big"))
        gateway.client.ack(message.mid, 1)

    gateway.client.on_message = take
    for message in stuck:
        take(None, None, message)
    assert until(lambda: len(got) >= 600, 10)
    assert sorted(got) == list(range(600))
    sending.join()
    acknowledged = b""
    while len(acknowledged) < 4 * 600:
        acknowledged += answer(device)
    assert acknowledged == b"".join(puback(number + 1) for number in range(600))
    device.close()
