"""Clients for the tests: paho as devices use it, and a bare socket for what paho would not do."""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from typing import Self

import paho.mqtt.client as mqtt

from agent.wire.topics import PREFIX

UP, DOWN, CAST, ENROLL = (f"{PREFIX}/{direction}" for direction in ("up", "down", "cast", "enroll"))
REFUSED = 0x80


def until(condition: Callable[[], object], seconds: float = 5.0) -> bool:
    """Whether it came true before the time was up."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        threading.Event().wait(0.005)
    return bool(condition())


class Peer:
    """One paho client; `server` is a connection of the server's.

    The constructor returns when the broker has answered, or has closed the connection.
    """

    def __init__(
        self,
        port: int,
        name: str,
        secret: str,
        *,
        client_id: str = "",
        clean: bool = True,
        will: tuple[str, bytes] | None = None,
        ca: str = "",
        manual_ack: bool = False,
        keepalive: int = 30,
    ) -> None:
        self.got: list[tuple[str, bytes, bool]] = []
        self.gone = threading.Event()
        self.reason: mqtt.ReasonCode | None = None
        self.session_present = False
        self._answered = threading.Event()
        self._granted: dict[int, list[int]] = {}
        if name == "server":
            name = client_id = client_id or f"server-{id(self)}"
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id or name,
            clean_session=clean,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=manual_ack,
        )
        if name:
            self.client.username_pw_set(name, secret)
        if will:
            self.client.will_set(*will, qos=1, retain=True)
        if ca:
            self.client.tls_set(ca)
        self.client.on_connect = self._connected
        self.client.on_disconnect = self._disconnected
        self.client.on_message = lambda _c, _d, m: self.got.append((m.topic, bytes(m.payload), m.retain))
        self.client.on_subscribe = lambda _c, _d, number, codes, _p: self._granted.update(
            {number: [code.value for code in codes]}
        )
        with suppress(OSError):
            self.client.connect("127.0.0.1", port, keepalive)
            self.client.loop_start()
            self._answered.wait(10)

    def _connected(self, _client, _data, flags, reason, _properties) -> None:
        self.reason, self.session_present = reason, flags.session_present
        self._answered.set()

    def _disconnected(self, *_) -> None:
        self.gone.set()
        self._answered.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.leave()

    @property
    def let_in(self) -> bool:
        return self.reason is not None and not self.reason.is_failure

    @property
    def up(self) -> bool:
        return self.let_in and not self.gone.is_set()

    def subscribe(self, *filters: str) -> list[int]:
        """The broker's answer for each filter: 0 and 1 are granted, REFUSED is not."""
        _, number = self.client.subscribe([(each, 1) for each in filters])
        assert until(lambda: number in self._granted or self.gone.is_set()), f"no answer about {filters}"
        return self._granted.get(number, [REFUSED] * len(filters))

    def unsubscribe(self, *filters: str) -> None:
        done = threading.Event()
        self.client.on_unsubscribe = lambda *_: done.set()
        self.client.unsubscribe(list(filters))
        assert done.wait(5), f"no answer about {filters}"

    def publish(self, topic: str, payload: bytes = b"x", *, retain: bool = False, seconds: float = 5.0) -> bool:
        """Whether the broker acknowledged it."""
        info = self.client.publish(topic, payload, 1, retain)
        with suppress(RuntimeError, ValueError):  # it was not even sent: the connection is gone
            info.wait_for_publish(seconds)
            return info.is_published()
        return False

    def saw(self, payload: bytes, seconds: float = 5.0) -> bool:
        return until(lambda: any(got == payload for _, got, _ in self.got), seconds)

    def topics(self) -> list[str]:
        return [topic for topic, _, _ in self.got]

    def cut(self) -> None:
        """Lose the network: no goodbye."""
        with suppress(OSError, AttributeError):
            self.client.socket().shutdown(socket.SHUT_RDWR)
        self.client.loop_stop()
        self._close()

    def leave(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        self._close()

    def _close(self) -> None:
        # paho leaves its sockets (it has a pair to wake itself up, too) to the garbage collector, which complains.
        self.client._reset_sockets()


# --- Bare sockets ---------------------------------------------------------------------------------------------------


def _field(data: bytes) -> bytes:
    return struct.pack("!H", len(data)) + data


def packet(head: int, body: bytes) -> bytes:
    length, size = b"", len(body)
    while True:
        size, low = size >> 7, size & 0x7F
        length += bytes((low | 0x80 if size else low,))
        if not size:
            return bytes((head,)) + length + body


def connect_packet(name: str, secret: str, *, client_id: str = "", clean: bool = True, keepalive: int = 30) -> bytes:
    fields = b"".join(_field(text.encode()) for text in (client_id or name, name, secret))
    return packet(0x10, _field(b"MQTT") + bytes((4, 0xC2 if clean else 0xC0)) + struct.pack("!H", keepalive) + fields)


def subscribe_packet(topic_filter: str, number: int = 1) -> bytes:
    return packet(0x82, struct.pack("!H", number) + _field(topic_filter.encode()) + b"\x01")


def publish_packet(topic: str, payload: bytes, number: int = 1) -> bytes:
    return packet(0x32, _field(topic.encode()) + struct.pack("!H", number) + payload)


def dial(port: int, ca: str = "", seconds: float = 10.0) -> socket.socket:
    plain = socket.create_connection(("127.0.0.1", port), seconds)
    if not ca:
        return plain
    return ssl.create_default_context(cafile=ca).wrap_socket(plain, server_hostname="127.0.0.1")


def answer(line: socket.socket) -> bytes:
    """What comes next; empty when the broker closed the connection."""
    try:
        return line.recv(4096)
    except ConnectionError:
        return b""


def closed_by_broker(line: socket.socket, seconds: float) -> bool:
    line.settimeout(seconds)
    try:
        while answer(line):
            pass
    except TimeoutError:
        return False
    return True


def send_and_see_it_closed(port: int, packets: Iterable[bytes], seconds: float = 5.0) -> bool:
    """Whether the broker ends the connection over these packets."""
    with closing(dial(port, seconds=seconds)) as line:
        with suppress(ConnectionError):
            for each in packets:
                line.sendall(each)
        return closed_by_broker(line, seconds)
