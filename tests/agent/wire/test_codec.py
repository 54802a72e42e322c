"""Bodies that nobody should decode: too large, too deep, not JSON, not numbers."""

import time

import pytest

from agent.wire import codec
from agent.wire.messages import CommandOrder, Sample, State, Telemetry

NESTING = codec.MAX_DEPTH


def _order(args: str) -> bytes:
    return b'{"id":"c","kind":"k","deadline":1,"args":%s}' % args.encode()


def test_a_body_over_the_limit_is_refused_before_it_is_read():
    with pytest.raises(codec.WireError, match=r"has 1048576 bytes, the limit is 262144"):
        codec.decode(b"[" * 1024**2, State)


def test_a_million_brackets_cost_nothing():
    start = time.perf_counter()
    with pytest.raises(codec.WireError, match="nested deeper"):
        codec.decode(b"[" * (codec.MAX_BODY - 1), State)

    assert time.perf_counter() - start < 0.1


def test_nesting_up_to_the_limit_is_taken():
    deep = _order('{"x":' + "[" * (NESTING - 2) + "]" * (NESTING - 2) + "}")

    assert codec.decode(deep, CommandOrder).id == "c"


def test_nesting_beyond_the_limit_is_refused():
    with pytest.raises(codec.WireError, match="nested deeper than 32"):
        codec.decode(_order('{"x":' + "[" * NESTING + "]" * NESTING + "}"), CommandOrder)


def test_brackets_in_a_text_are_no_nesting():
    text = '{"x":"' + "[" * 500 + '\\"' + "[" * 500 + '"}'

    assert codec.decode(_order(text), CommandOrder).args["x"].count("[") == 1000


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(number):
    with pytest.raises(codec.WireError):
        codec.decode(b'{"seq":1,"at":1,"power":%s}' % number.encode(), Sample)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b'"text"', b"\xff\xfe\x00", b'{"online":true,"boot_id":"\xed\xa0\x80"}', b"{} {}"],
)
def test_what_is_no_message_is_refused_with_a_sentence(body):
    with pytest.raises(codec.WireError, match="not a valid State"):
        codec.decode(body, State)


def test_a_message_of_too_many_samples_is_refused():
    samples = ",".join(f'{{"seq":{number},"at":1}}' for number in range(501))

    with pytest.raises(codec.WireError, match="length <= 500"):
        codec.decode(b'{"boot_id":"b","samples":[%s]}' % samples.encode(), Telemetry)
