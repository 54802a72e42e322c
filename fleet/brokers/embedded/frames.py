"""MQTT 3.1.1 frames: cut out of a byte stream with their length checked first, and checked before anyone believes them.

The packets that make up the traffic (PUBLISH, PUBACK, ping) are decoded and encoded here; the others go on to amqtt,
which gets them only when they are well formed: its own reader would run on into the next packet.
"""

from typing import NamedTuple

CONNECT, CONNACK, PUBLISH, PUBACK = 1, 2, 3, 4
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = 8, 9, 10, 11
PINGREQ, DISCONNECT = 12, 14

PINGRESP = b"\xd0\x00"
#: Connect answers (section 3.2.2.3).
REFUSED_PROTOCOL, REFUSED_UNAVAILABLE, REFUSED_NOT_AUTHORIZED = 1, 3, 5

RETAIN, QOS_1, DUP = 0x01, 0x02, 0x08


class FrameError(ValueError):
    """Bytes that are not MQTT 3.1.1, or more than is allowed. The connection ends."""


class Frame(NamedTuple):
    kind: int
    flags: int
    body: bytes

    def encoded(self) -> bytes:
        return bytes((self.kind << 4 | self.flags,)) + length_field(len(self.body)) + self.body


class Publish(NamedTuple):
    topic: str
    payload: bytes
    qos: int
    retain: bool
    #: 0 with QoS 0.
    packet_id: int


class Splitter:
    """Cuts a byte stream into frames. Holds one unfinished frame of at most `limit` bytes and what was fed last."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()
        self._at = 0

    def feed(self, data: bytes) -> None:
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data

    @property
    def kind(self) -> int | None:
        """The type of the packet that has begun to arrive, if any."""
        return self._buffer[self._at] >> 4 if self._at < len(self._buffer) else None

    def next(self) -> Frame | None:
        """The next frame, or None until more is fed. Raises FrameError as soon as a length field says too much."""
        buffer, start = self._buffer, self._at
        size = shift = 0
        at = start + 1
        while True:
            if at >= len(buffer):
                return None
            byte = buffer[at]
            at += 1
            size |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 21:
                raise FrameError("a length field has more than four bytes")
        if size > self.limit:
            raise FrameError(f"a packet has {size} bytes, the limit is {self.limit}")
        if at + size > len(buffer):
            return None
        head = buffer[start]
        with memoryview(buffer) as view:
            body = bytes(view[at : at + size])
        self._at = at + size
        return Frame(head >> 4, head & 0x0F, body)


def length_field(size: int) -> bytes:
    """A remaining length (section 2.2.3)."""
    made = bytearray()
    while True:
        size, low = size >> 7, size & 0x7F
        made.append(low | 0x80 if size else low)
        if not size:
            return bytes(made)


def text_field(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


def _text(body: bytes, at: int) -> tuple[str, int]:
    """The text that begins at `at`, and where it ends."""
    start = at + 2
    if start > len(body):
        raise FrameError("a packet ends in the middle of a length")
    end = start + (body[at] << 8 | body[at + 1])
    if end > len(body):
        raise FrameError("a packet ends in the middle of a text")
    try:
        text = body[start:end].decode()
    except UnicodeDecodeError as problem:
        raise FrameError("a text is not UTF-8") from problem
    if "\0" in text:
        raise FrameError("a text holds a NUL")
    return text, end


def _packet_id(body: bytes, at: int) -> int:
    if at + 2 > len(body):
        raise FrameError("a packet ends before its id")
    number = body[at] << 8 | body[at + 1]
    if not number:
        raise FrameError("a packet has the id 0")
    return number


def read_publish(frame: Frame) -> Publish:
    qos = frame.flags >> 1 & 3
    if qos > 1:
        raise FrameError(f"a message has QoS {qos}, this broker serves 0 and 1")
    topic, at = _text(frame.body, 0)
    if not topic or "+" in topic or "#" in topic:
        raise FrameError(f"{topic[:80]!r} is no topic to publish to")
    packet_id = 0
    if qos:
        packet_id = _packet_id(frame.body, at)
        at += 2
    return Publish(topic, frame.body[at:], qos, bool(frame.flags & RETAIN), packet_id)


def read_puback(frame: Frame) -> int:
    """The acknowledged packet's id."""
    if len(frame.body) != 2:
        raise FrameError(f"an acknowledgement has {len(frame.body)} bytes, not 2")
    return _packet_id(frame.body, 0)


def check_request(frame: Frame, most: int) -> None:
    """Raises FrameError unless a SUBSCRIBE, UNSUBSCRIBE or DISCONNECT is well formed to its last byte.

    It may name at most `most` topics.
    """
    if frame.kind == DISCONNECT:
        if frame.body:
            raise FrameError("a goodbye has content")
        return
    _packet_id(frame.body, 0)
    at, named = 2, 0
    while at < len(frame.body):
        _, at = _text(frame.body, at)
        named += 1
        if frame.kind == SUBSCRIBE:
            if at >= len(frame.body) or frame.body[at] > 2:
                raise FrameError("a subscription has no valid QoS")
            at += 1
    if not 1 <= named <= most:
        raise FrameError(f"a subscription names {named} topics, not 1 to {most}")


def connack(code: int) -> bytes:
    return bytes((CONNACK << 4, 2, 0, code))


def puback(packet_id: int) -> bytes:
    return bytes((PUBACK << 4, 2)) + packet_id.to_bytes(2, "big")


def publish_stem(topic: str, payload_size: int, qos: int) -> bytes:
    """What follows the first byte of a PUBLISH, up to the packet id (or the payload, with QoS 0): the same for all."""
    name = text_field(topic)
    return length_field(len(name) + (2 if qos else 0) + payload_size) + name
