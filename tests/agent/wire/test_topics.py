"""Topics are built and read back by two functions that are each other's inverse."""

import pytest

from agent.wire import topics
from agent.wire.topics import Topic, TopicError

DIGEST = "0f" * 32
ALL = [
    Topic("enroll", "request", "n-1"),
    Topic("enroll", "reply", "n_1"),
    Topic("up", "state", "d-1"),
    Topic("up", "telemetry", "d-1"),
    Topic("up", "deployment", "d-1"),
    Topic("up", "command", "d-1", "c-1"),
    Topic("up", "want", "d-1"),
    Topic("down", "desired", "d-1"),
    Topic("down", "command", "d-1", "c-1"),
    Topic("down", "block", "d-1", DIGEST, 0),
    Topic("down", "block", "d-1", DIGEST, 70_000),
    Topic("cast", "manifest", key=DIGEST),
    Topic("cast", "tuf", key="root"),
    Topic("down", "links", "d-1"),
    Topic("cast", "block", "cd" * 32, DIGEST, 12),
]


@pytest.mark.parametrize("topic", ALL, ids=str)
def test_read_back_as_built(topic):
    assert topics.parse(topics.build(topic)) == topic


def test_every_shape_is_among_them():
    assert {(topic.direction, topic.kind) for topic in ALL} == set(topics._SHAPES)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (topics.enroll_request("n"), "edgefleet/v1/enroll/n/request"),
        (topics.enroll_reply("n"), "edgefleet/v1/enroll/n/reply"),
        (topics.up("d", "state"), "edgefleet/v1/up/d/state"),
        (topics.down("d", "command", "c"), "edgefleet/v1/down/d/command/c"),
        (topics.down_block("d", DIGEST, 3), f"edgefleet/v1/down/d/block/{DIGEST}/3"),
        (topics.manifest(DIGEST), f"edgefleet/v1/cast/manifest/{DIGEST}"),
        (topics.device_filter("d"), "edgefleet/v1/down/d/#"),
    ],
)
def test_short_forms(short, long):
    assert short == long


@pytest.mark.parametrize(
    "text",
    [
        "",
        "edgefleet/v1",
        "edgefleet/v1/",
        "edgefleet/v2/up/d/state",
        "edgefleet/v1/up",
        "edgefleet/v1/up/d",
        "edgefleet/v1/up/d/",
        "edgefleet/v1/up/d/state/more",
        "edgefleet/v1/up//state",
        "edgefleet/v1/up/+/state",
        "edgefleet/v1/up/d/command",
        "edgefleet/v1/up/d/command/a#b",
        "edgefleet/v1/up/a b/state",
        "edgefleet/v1/up/d\n/state",
        "edgefleet/v1/sideways/d/state",
        f"edgefleet/v1/cast/d/manifest/{DIGEST}",
        "edgefleet/v1/cast/manifest/short",
        f"edgefleet/v1/cast/manifest/{DIGEST.upper()}",
        f"edgefleet/v1/cast/manifest/{DIGEST}\n",
        f"edgefleet/v1/down/d/block/{DIGEST}",
        f"edgefleet/v1/down/d/block/{DIGEST}/-1",
        f"edgefleet/v1/down/d/block/{DIGEST}/01",
        f"edgefleet/v1/down/d/block/{DIGEST}/1.0",
        f"edgefleet/v1/down/d/block/{DIGEST}/9999999999",
        f"edgefleet/v1/down/{'d' * 65}/desired",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(TopicError):
        topics.parse(text)


@pytest.mark.parametrize(
    "topic",
    [
        Topic("up", "desired", "d"),
        Topic("down", "desired", "a/b"),
        Topic("down", "desired", ""),
        Topic("down", "command", "d", "+"),
        Topic("down", "block", "d", DIGEST),
        Topic("down", "block", "d", DIGEST, -1),
        Topic("cast", "manifest", key="#"),
    ],
    ids=repr,
)
def test_no_unsafe_topic_can_be_built(topic):
    with pytest.raises(TopicError):
        topics.build(topic)
