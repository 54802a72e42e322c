"""The server's connections to the broker.

Their client ids are fixed, so that the broker keeps for the next gateway what the last one did not acknowledge. Two at
once would throw each other out: the lease (fleet.gateway.lease) is what keeps them apart.
"""

import logging
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

import paho.mqtt.client as paho
from django.conf import settings

from fleet.brokers.embedded.frames import PUBLISH, RETAIN, Frame, FrameError, Splitter

log = logging.getLogger(__name__)

#: Bytes that are taken from the socket at once.
AT_ONCE = 256 * 1024
#: What MQTT allows a packet. A broker of one's own allows less; refusing here would get the same packet sent for ever.
LONGEST = 2**28
_PUBACK = struct.Struct("!BBH")


def client(name: str, *, on_ready: Callable[[paho.Client], None] | None = None) -> paho.Client:
    """A client that stays connected by itself. `on_ready` runs after each (re)connect; it should (re)subscribe."""
    return _ready(paho.Client, name, on_ready)


class Arrived(NamedTuple):
    """A message as it came; number is 0 with QoS 0, where there is nothing to acknowledge."""

    topic: bytes
    payload: bytes
    retained: bool
    number: int


class Reader(paho.Client):
    """A client for many small messages, each of which counts as taken only when the caller acknowledges it.

    paho asks the system five times for each message, and once more for each acknowledgement. This one hands over what
    there is (`take`), and acknowledges a batch at once.
    """

    take: Callable[[list[Arrived]], None]

    @classmethod
    def of(cls, name: str, *, on_ready: Callable[[paho.Client], None] | None = None) -> Self:
        return _ready(cls, name, on_ready, manual_ack=True)

    def acknowledge(self, numbers: Iterable[int]) -> None:
        packets = b"".join([_PUBACK.pack(paho.PUBACK, 2, number) for number in numbers if number])
        if packets:
            self._packet_queue(paho.PUBACK, packets, 0, 0)

    def _create_socket(self) -> Any:
        self._frames = Splitter(LONGEST)
        return super()._create_socket()

    def _packet_read(self) -> paho.MQTTErrorCode:
        try:
            data = self._sock_recv(AT_ONCE)
        except BlockingIOError:
            return paho.MQTT_ERR_AGAIN
        except OSError:
            return paho.MQTT_ERR_CONN_LOST
        if not data:
            return paho.MQTT_ERR_CONN_LOST
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()
        self._frames.feed(data)
        arrived: list[Arrived] = []
        try:
            return self._sort(arrived)
        except (FrameError, paho.MalformedPacket) as problem:
            log.warning("the broker sent what is no MQTT: %s", problem)
            return paho.MQTT_ERR_PROTOCOL
        finally:
            if arrived:
                self.take(arrived)

    def _sort(self, arrived: list[Arrived]) -> paho.MQTTErrorCode:
        """Messages into the list; whatever else there is, is paho's."""
        while frame := self._frames.next():
            if frame.kind == PUBLISH:
                arrived.append(_message(frame))
            elif (result := self._handle(frame)) != paho.MQTT_ERR_SUCCESS:
                return result
        return paho.MQTT_ERR_SUCCESS

    def _handle(self, frame: Frame) -> paho.MQTTErrorCode:
        self._in_packet |= {
            "command": frame.kind << 4 | frame.flags,
            "remaining_length": len(frame.body),
            "packet": bytearray(frame.body),
            "pos": 0,
        }
        result = self._packet_handle()
        self._in_packet["command"] = 0
        return result


def _message(frame: Frame) -> Arrived:
    """The topic is not looked at: what is wrong with it is nothing that the broker could help."""
    body, qos = frame.body, frame.flags >> 1 & 3
    end = 2 + int.from_bytes(body[:2])
    rest = end + (2 if qos else 0)
    if rest > len(body):
        raise FrameError("a message ends before its payload")
    return Arrived(body[2:end], body[rest:], bool(frame.flags & RETAIN), int.from_bytes(body[end:rest]))


def _ready(kind: type[paho.Client], name: str, on_ready: Callable[[paho.Client], None] | None, **options: Any) -> Any:
    login = f"server-{name}"  # user name and client id: a broker may hold to their being the same
    made = kind(
        paho.CallbackAPIVersion.VERSION2, client_id=login, clean_session=False, protocol=paho.MQTTv311, **options
    )
    made.username_pw_set(login, settings.MQTT_SERVER_SECRET)
    if settings.MQTT_TLS:
        made.tls_set(settings.MQTT_TLS_CA or None)
    made.reconnect_delay_set(1, 15)
    made.max_inflight_messages_set(100)

    def connected(client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            log.error("the broker refused %s: %s", name, reason)
            return
        log.info("%s is connected to %s:%s", name, settings.MQTT_HOST, settings.MQTT_PORT)
        if on_ready:
            on_ready(client)

    def disconnected(_client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            log.warning("%s lost the broker (%s); it will connect again", name, reason)

    made.on_connect, made.on_disconnect = connected, disconnected
    return made


def start(made: paho.Client) -> None:
    """Connect in the background, now or when the broker is there."""
    made.connect_async(settings.MQTT_HOST, settings.MQTT_PORT, keepalive=30)
    made.loop_start()
