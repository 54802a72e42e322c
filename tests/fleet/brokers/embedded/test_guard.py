"""What a client that does not keep to the protocol, or wants too much, sees."""

import socket
import struct
import threading
from contextlib import closing, suppress

import pytest

from tests.fleet.brokers.conftest import SECRETS
from tests.fleet.brokers.peers import (
    CAST,
    DOWN,
    ENROLL,
    REFUSED,
    UP,
    answer,
    closed_by_broker,
    connect_packet,
    dial,
    packet,
    publish_packet,
    send_and_see_it_closed,
    subscribe_packet,
    until,
)

ME = "dev001"
HELLO = connect_packet(ME, SECRETS[ME])
PING = b"\xc0\x00"


def served(broker, join) -> bool:
    """Whether another device is still served."""
    with join(broker, "dev002") as other:
        return other.publish(f"{UP}/dev002/telemetry")


# --- Before the login -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        PING,
        publish_packet(f"{UP}/{ME}/telemetry", b"x"),
        packet(0x10, b""),
        packet(0x10, b"\0\4MQTT\4"),
        packet(0x10, b"\0\4MQTT\4\xc2\0\x1e\0\xff"),
        HELLO[:1] + bytes((HELLO[1] + 6,)) + HELLO[2:] + b"\x30\x04\0\1ax",
        b"\x10" + b"\xff\xff\xff\x7f",
        packet(0x10, b"\0\4MQTT\4" + b"x" * 20_000),
    ],
    ids=[
        "HTTP",
        "TLS",
        "a ping",
        "a message",
        "an empty CONNECT",
        "half a CONNECT",
        "a text that ends too soon",
        "a message inside the CONNECT",
        "a CONNECT of 256 MiB",
        "a CONNECT of 20 kB",
    ],
)
def test_whoever_does_not_begin_with_a_sound_connect_is_disconnected(start, join, first):
    broker = start()
    assert send_and_see_it_closed(broker.port, [first])
    assert served(broker, join)


def test_a_client_of_mqtt_5_is_told_that_the_protocol_is_not_spoken(start):
    with closing(dial(start().port)) as line:
        line.sendall(packet(0x10, b"\0\4MQTT\5\xc2\0\x1e\0\0\4dev1"))
        assert answer(line) == b"\x20\x02\x00\x01"
        assert closed_by_broker(line, 5)


def test_a_connection_that_says_nothing_is_closed(start):
    assert send_and_see_it_closed(start(connect_timeout=0.2).port, [], seconds=3)


def test_a_connect_that_drips_in_is_not_waited_for(start):
    broker = start(connect_timeout=0.4)
    with closing(dial(broker.port)) as line:
        stop = threading.Event()

        def drip() -> None:
            with suppress(OSError):
                for byte in HELLO[:-1]:
                    line.sendall(bytes((byte,)))
                    stop.wait(0.05)

        dripping = threading.Thread(target=drip)
        dripping.start()
        assert closed_by_broker(line, 3)
        stop.set()
        dripping.join()


def test_an_address_that_sends_garbage_over_and_over_has_to_wait_too(start):
    broker = start(failed_logins=5, failed_logins_per_second=0.1)
    for _ in range(5):
        assert send_and_see_it_closed(broker.port, [b"garbage"])
    with closing(dial(broker.port)) as line, suppress(ConnectionError):
        line.sendall(HELLO)
        assert answer(line) == b""


def test_after_too_many_failed_logins_an_address_has_to_wait(start, join):
    broker = start(failed_logins=5, failed_logins_per_second=4.0)
    wrong = connect_packet(ME, "wrong")
    answers = []
    for _ in range(8):
        with closing(dial(broker.port)) as line, suppress(ConnectionError):
            line.sendall(wrong)
            answers.append(answer(line))
    assert answers[:5] == [b"\x20\x02\x00\x05"] * 5
    assert answers[-1] == b""

    def in_again() -> bool:
        with closing(dial(broker.port)) as line, suppress(ConnectionError):
            line.sendall(HELLO)
            return answer(line) == b"\x20\x02\x00\x00"
        return False

    assert until(in_again, 3)


# --- After it -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "then",
    [
        HELLO,
        packet(0x34, b"\0\1a\0\1x"),
        packet(0x62, b"\0\1"),
        packet(0x30, b"\0\3a/#x"),
        packet(0x30, b"\0\2\xff\xfex"),
        packet(0x30, b"\0\xffa"),
        packet(0x82, b"\0\1\0\1a"),
        packet(0x20, b"\0\0"),
        packet(0xF0, b""),
        b"\x30" + b"\xff\xff\xff\xff\x01",
        packet(0x30, b"\0\1a" + b"x" * 300_000),
    ],
    ids=[
        "a second CONNECT",
        "QoS 2",
        "a step of QoS 2",
        "a topic with a wildcard",
        "a topic that is not UTF-8",
        "a topic that ends too soon",
        "a subscription without QoS",
        "a packet that only brokers send",
        "a reserved packet",
        "an endless length",
        "300 kB at once",
    ],
)
def test_whoever_breaks_the_protocol_is_disconnected_and_others_go_on(start, join, then):
    broker = start()
    assert send_and_see_it_closed(broker.port, [HELLO, then])
    assert served(broker, join)


def test_the_largest_body_of_the_contract_passes(start, join):
    broker = start()
    body = b"x" * (256 * 1024)
    device = join(broker, ME)
    device.subscribe(f"{CAST}/#")
    assert join(broker, "server").publish(f"{CAST}/manifest/{'a' * 64}", body)
    assert device.saw(body)


def test_packets_that_follow_the_connect_at_once_are_served(start):
    broker = start()
    with closing(dial(broker.port)) as line:
        line.sendall(
            HELLO + subscribe_packet(f"{DOWN}/{ME}/#") + publish_packet(f"{UP}/{ME}/telemetry", b"x", 7) + PING
        )
        got = b""
        while len(got) < 4 + 5 + 4 + 2:
            got += answer(line)
    assert got.startswith(b"\x20\x02\x00\x00")
    assert all(part in got for part in (b"\x90\x03\x00\x01\x01", b"\x40\x02\x00\x07", b"\xd0\x00"))


def test_a_client_that_sends_and_never_reads_is_cut_off(start, join):
    broker = start(max_unread=32 * 1024)
    # Else the kernel takes 4 MiB for the client, which is 2 million answers.
    broker._broker.guard._server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with closing(socket.socket()) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        line.settimeout(10)
        line.connect(("127.0.0.1", broker.port))
        line.sendall(HELLO)

        def cut_off() -> bool:
            try:
                line.sendall(PING * 1000)
            except ConnectionError:
                return True
            return False

        assert until(cut_off, 10)
    assert served(broker, join)


def test_a_client_that_subscribes_without_end_and_never_reads_is_not_read_either(start, join):
    broker = start()
    with closing(socket.socket()) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        line.settimeout(0.5)
        line.connect(("127.0.0.1", broker.port))
        line.sendall(HELLO)
        many = b"".join(packet(0x82, struct.pack("!H", number) + (b"\0\1a\1" * 32)) for number in range(1, 1000))
        with pytest.raises(TimeoutError):
            for _ in range(300):
                line.sendall(many)
        assert served(broker, join)


def test_a_device_has_so_many_subscriptions_and_no_more(start, join):
    device = join(start(max_filters=3), ME)
    assert device.subscribe(*(f"{DOWN}/{ME}/command/c{number}" for number in range(3))) == [1, 1, 1]
    assert device.subscribe(f"{DOWN}/{ME}/command/c3") == [REFUSED]
    assert device.subscribe(f"{DOWN}/{ME}/command/c0") == [1]
    assert device.subscribe(f"{DOWN}/{ME}/" + "x" * 300) == [REFUSED]


def test_a_device_leaves_one_retained_message_its_state(start, join):
    broker = start()
    device = join(broker, ME)
    device.publish(f"{UP}/{ME}/state", b"my state", retain=True)
    for number in range(20):
        device.publish(f"{UP}/{ME}/command/c{number}", b"more", retain=True)
    device.publish(f"{UP}/{ME}/telemetry", b"more", retain=True)
    server = join(broker, "server")
    server.subscribe(f"{UP}/#")
    device.publish(f"{UP}/{ME}/telemetry", b"the end")
    assert server.saw(b"the end")
    assert server.got == [(f"{UP}/{ME}/state", b"my state", True), (f"{UP}/{ME}/telemetry", b"the end", False)]


def test_enrollment_leaves_no_session_behind(start, join):
    broker = start()
    new = join(broker, "enroll-aa", client_id="enroll-n1", clean=False)
    new.subscribe(f"{ENROLL}/n1/reply")
    new.leave()
    join(broker, "server").publish(f"{ENROLL}/n1/reply", b"for nobody")
    again = join(broker, "enroll-aa", client_id="enroll-n1", clean=False)
    assert not again.session_present
    assert not again.saw(b"for nobody", 0.1)


def test_one_token_does_not_end_the_enrollment_of_another(start, join):
    broker = start()
    first = join(broker, "enroll-aa", client_id="enroll-n1")
    assert not join(broker, "enroll-bb", client_id="enroll-n1").let_in
    assert first.publish(f"{ENROLL}/n1/request")
    assert join(broker, "enroll-aa", client_id="enroll-n1").let_in
    assert first.gone.wait(5)


def test_a_device_that_reconnects_over_and_over_finds_its_one_session(start, join):
    broker = start()
    for _ in range(50):
        with closing(dial(broker.port)) as line:
            line.sendall(connect_packet(ME, SECRETS[ME], clean=False))
            assert answer(line)[3] == 0
    with closing(dial(broker.port)) as line:
        line.sendall(connect_packet(ME, SECRETS[ME], clean=False))
        assert answer(line) == b"\x20\x02\x01\x00"
    assert served(broker, join)
