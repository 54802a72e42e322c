import random

import pytest

from fleet.brokers.embedded import frames
from fleet.brokers.embedded.frames import Frame, FrameError, Splitter
from tests.fleet.brokers.peers import packet, publish_packet, subscribe_packet

LIMIT = 300


def split(stream: bytes, cuts: list[int], limit: int = LIMIT) -> list[Frame]:
    splitter, found = Splitter(limit), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        splitter.feed(stream[start:end])
        while (frame := splitter.next()) is not None:
            found.append(frame)
    return found


def test_a_stream_gives_the_same_frames_however_it_arrives():
    chance = random.Random(7)  # noqa: S311  # cuts, not secrets
    sent = [Frame(3, 2, chance.randbytes(size)) for size in (0, 1, 127, 128, 299, 300)] + [Frame(12, 0, b"")]
    stream = b"".join(frame.encoded() for frame in sent)
    assert split(stream, list(range(1, len(stream)))) == sent
    for _ in range(200):
        cuts = sorted(chance.sample(range(len(stream)), 5))
        assert split(stream, cuts) == sent


def test_a_frame_of_256_kib_that_drips_in_is_put_together_in_good_time():
    frame = Frame(3, 2, b"x" * 262_144)
    stream = frame.encoded()
    assert split(stream, list(range(64, len(stream), 64)), limit=262_144) == [frame]


def test_a_length_beyond_the_limit_is_refused_before_its_body_has_come():
    splitter = Splitter(LIMIT)
    splitter.feed(bytes((0x30,)) + frames.length_field(LIMIT + 1))
    with pytest.raises(FrameError, match="a packet has 301 bytes, the limit is 300"):
        splitter.next()
    splitter = Splitter(LIMIT)
    splitter.feed(b"\x30\x80\x80\x80\x80")
    with pytest.raises(FrameError, match="more than four bytes"):
        splitter.next()


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_lengths_are_written_as_the_standard_says(size):
    field = frames.length_field(size)
    assert sum((byte & 0x7F) << 7 * place for place, byte in enumerate(field)) == size
    assert [byte >> 7 for byte in field] == [1] * (len(field) - 1) + [0]


def one(data: bytes) -> Frame:
    return split(data, [])[0]


def test_a_publish_is_read_as_it_was_written():
    message = frames.read_publish(one(publish_packet("up/ä", b"payload", 258)))
    assert message == frames.Publish("up/ä", b"payload", 1, False, 258)
    head = bytes((0x31,)) + frames.publish_stem("up/ä", 7, 0)
    assert frames.read_publish(one(head + b"payload")) == frames.Publish("up/ä", b"payload", 0, True, 0)
    head = bytes((0x3B,)) + frames.publish_stem("up/ä", 7, 1) + b"\x01\x02"
    assert frames.read_publish(one(head + b"payload")) == frames.Publish("up/ä", b"payload", 1, True, 258)


@pytest.mark.parametrize(
    ("head", "body", "reason"),
    [
        (0x34, b"\0\1a\0\1", "QoS 2"),
        (0x36, b"\0\1a\0\1", "QoS 3"),
        (0x30, b"", "middle of a length"),
        (0x30, b"\0\5abc", "middle of a text"),
        (0x30, b"\0\2\xff\xfe", "not UTF-8"),
        (0x30, b"\0\2a\0", "a NUL"),
        (0x30, b"\0\0x", "no topic"),
        (0x30, b"\0\3a/+", "no topic"),
        (0x30, b"\0\3a/#", "no topic"),
        (0x32, b"\0\1a\0", "before its id"),
        (0x32, b"\0\1a\0\0", "the id 0"),
    ],
)
def test_a_malformed_publish_is_refused_with_the_reason(head, body, reason):
    with pytest.raises(FrameError, match=reason):
        frames.read_publish(one(packet(head, body)))


def test_requests_pass_only_when_they_are_whole():
    frames.check_request(one(subscribe_packet("a/#")), 1)
    frames.check_request(one(packet(0xA2, b"\0\1\0\1a\0\1b")), 2)
    frames.check_request(one(packet(0xE0, b"")), 0)


@pytest.mark.parametrize(
    ("head", "body", "reason"),
    [
        (0x82, b"", "before its id"),
        (0x82, b"\0\1", "names 0 topics"),
        (0x82, b"\0\1" + b"\0\1a\1" * 3, "names 3 topics, not 1 to 2"),
        (0x82, b"\0\1\0\1a", "no valid QoS"),
        (0x82, b"\0\1\0\1a\3", "no valid QoS"),
        (0x82, b"\0\1\0\1a\1\0", "middle of a length"),
        (0x82, b"\0\1\0\5a\1", "middle of a text"),
        (0xA2, b"\0\1\0\1a\1", "middle of a length"),
        (0xE0, b"\x30\0", "a goodbye has content"),
    ],
)
def test_a_request_that_would_run_on_into_the_next_packet_is_refused(head, body, reason):
    with pytest.raises(FrameError, match=reason):
        frames.check_request(one(packet(head, body)), 2)


def test_an_acknowledgement_is_two_bytes():
    assert frames.read_puback(one(frames.puback(300))) == 300
    with pytest.raises(FrameError):
        frames.read_puback(one(packet(0x40, b"\0\1\0")))
