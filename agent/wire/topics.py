"""Every MQTT topic of Edgefleet: built by one function, read back by its inverse.

`parse(build(t)) == t` for each topic, and `parse` refuses whatever `build` could not have made.
"""

import re
from dataclasses import dataclass
from typing import Literal

PREFIX = "edgefleet/v1"

#: Ids are put into topics, so they hold no `/`, `+`, `#`, `$` or NUL.
SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
DIGEST = re.compile(r"[0-9a-f]{64}\Z")

Direction = Literal["enroll", "up", "down", "cast"]


class TopicError(ValueError):
    """A topic that this contract does not know, or an id that must not be put into one."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One parsed topic.

    kind is the word after the owner (`state`, `telemetry`, `command`, `block`, …), owner the device id or nonce (of a
    `cast/block` the manifest's digest, of another `cast` empty), key the command id, digest or metadata name, number
    the block number.
    """

    direction: Direction
    kind: str
    owner: str = ""
    key: str = ""
    number: int | None = None

    def __str__(self) -> str:
        return build(self)


#: (direction, kind) → which of key and number follow; `manifest` is the owner of a block that is cast.
_SHAPES: dict[tuple[str, str], tuple[str, ...]] = {
    ("enroll", "request"): (),
    ("enroll", "reply"): (),
    ("up", "state"): (),
    ("up", "telemetry"): (),
    ("up", "deployment"): (),
    ("up", "command"): ("id",),
    ("up", "want"): (),
    ("down", "desired"): (),
    ("down", "links"): (),
    ("down", "command"): ("id",),
    ("down", "block"): ("digest", "number"),
    ("cast", "manifest"): ("digest",),
    ("cast", "tuf"): ("id",),
    ("cast", "block"): ("manifest", "digest", "number"),
}


def build(topic: Topic) -> str:
    """The topic's text. Raises TopicError when a part is not safe to put into a topic."""
    shape = _SHAPES.get((topic.direction, topic.kind))
    if shape is None:
        raise TopicError(f"there is no topic {topic.direction}/{topic.kind}")
    words = [PREFIX, topic.direction]
    if topic.direction != "cast":
        words.append(_checked("id", topic.owner))
    words.append(topic.kind)
    for part in shape:
        if part == "number":
            if topic.number is None or topic.number < 0:
                raise TopicError(f"a {topic.kind} topic needs a block number, not {topic.number}")
            words.append(str(topic.number))
        elif part == "manifest":
            words.append(_checked("digest", topic.owner))
        else:
            words.append(_checked(part, topic.key))
    return "/".join(words)


def parse(text: str) -> Topic:
    """The inverse of `build`. Raises TopicError for anything else."""
    if not text.startswith(PREFIX + "/"):
        raise TopicError(f"{text[:120]!r} is not under {PREFIX}")
    words = text[len(PREFIX) + 1 :].split("/")
    direction = words.pop(0)
    owner = words.pop(0) if direction != "cast" and words else ""
    kind = words.pop(0) if words else ""
    shape = _SHAPES.get((direction, kind))
    if shape is None or len(shape) != len(words):
        raise TopicError(f"{text[:120]!r} is no topic of {PREFIX}")
    if direction != "cast":
        _checked("id", owner)
    key, number = "", None
    for part, word in zip(shape, words, strict=True):
        if part == "number":
            if not re.fullmatch(r"0|[1-9][0-9]{0,8}", word):
                raise TopicError(f"{word[:40]!r} is no block number")
            number = int(word)
        elif part == "manifest":
            owner = _checked("digest", word)
        else:
            key = _checked(part, word)
    return Topic(direction, kind, owner, key, number)  # type: ignore[arg-type]  # one of _SHAPES' directions


def _checked(part: str, value: str) -> str:
    if not (DIGEST if part == "digest" else SAFE_ID).match(value):
        raise TopicError(f"{value[:80]!r} cannot stand in a topic as {part}")
    return value


def enroll_request(nonce: str) -> str:
    return build(Topic("enroll", "request", nonce))


def enroll_reply(nonce: str) -> str:
    return build(Topic("enroll", "reply", nonce))


def up(device_id: str, kind: str, key: str = "") -> str:
    return build(Topic("up", kind, device_id, key))


def down(device_id: str, kind: str, key: str = "") -> str:
    return build(Topic("down", kind, device_id, key))


def down_block(device_id: str, digest: str, number: int) -> str:
    return build(Topic("down", "block", device_id, digest, number))


def cast_block(manifest_digest: str, digest: str, number: int) -> str:
    return build(Topic("cast", "block", manifest_digest, digest, number))


def cast_filter(manifest_digest: str) -> str:
    """What a device subscribes to for the blocks that are sent once to everybody who fetches this manifest."""
    return f"{PREFIX}/cast/block/{_checked('digest', manifest_digest)}/#"


def manifest(digest: str) -> str:
    return build(Topic("cast", "manifest", key=digest))


def metadata(name: str) -> str:
    """Where a file of the release metadata is retained; see agent.wire.metadata for the names."""
    return build(Topic("cast", "tuf", key=name))


def device_filter(device_id: str) -> str:
    """What a device subscribes to for itself."""
    return f"{PREFIX}/down/{_checked('id', device_id)}/#"


#: What the gateway subscribes to.
GATEWAY_FILTERS = (f"{PREFIX}/up/#", f"{PREFIX}/enroll/+/request")
