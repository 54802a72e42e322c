"""Who may read and write which topic: the one rule behind every broker adapter."""

import re
from dataclasses import dataclass
from typing import Literal

from agent.wire.topics import PREFIX

Action = Literal["publish", "subscribe", "receive"]
Kind = Literal["device", "enroll", "server"]

_ENROLL_REQUEST = re.compile(rf"{PREFIX}/enroll/[A-Za-z0-9_-]{{1,64}}/request\Z")
#: A literal nonce only: a `+` would read the replies to others.
_ENROLL_REPLY = re.compile(rf"{PREFIX}/enroll/[A-Za-z0-9_-]{{1,64}}/reply\Z")


#: User names of one enrollment token. Brokers that bind the client id to the user name let in one connection for each;
#: devices that boot together, with one token, choose among these at random.
ENROLL_LOGINS = 32


def enroll_login(token_id: str, number: int) -> str:
    """The user name of a device that enrolls; `number` from 0 to ENROLL_LOGINS - 1."""
    return f"enroll-{token_id}-{number}"


@dataclass(frozen=True, slots=True)
class Identity:
    """A login that the broker knows."""

    name: str
    kind: Kind
    active: bool = True


def may(identity: Identity, action: Action, topic: str) -> bool:
    """Whether `identity` may publish to a topic name, subscribe to a topic filter or receive from a topic name.

    Prefix tests are sound for filters: one that begins with a literal prefix matches only topics under that prefix.
    """
    if not identity.active or not topic or "\0" in topic:
        return False
    if identity.kind == "server":
        return not (action == "publish" and topic.startswith("$"))
    if action == "publish" and ("+" in topic or "#" in topic):
        return False
    if identity.kind == "device":
        if action == "publish":
            return topic.startswith(f"{PREFIX}/up/{identity.name}/")
        return topic.startswith((f"{PREFIX}/down/{identity.name}/", f"{PREFIX}/cast/"))
    if action == "publish":
        return bool(_ENROLL_REQUEST.match(topic))
    return bool(_ENROLL_REPLY.match(topic))


def client_id_ok(identity: Identity, client_id: str) -> bool:
    """Client ids are session keys: bound to the identity, or anyone could take a session over and inherit its queue."""
    if identity.kind == "enroll":
        return client_id.startswith("enroll-")
    return client_id == identity.name
