"""The metadata themselves: made, signed and checked. Functions of keys, versions and a clock; no files, no database."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from agent.wire.metadata import ISSUED, NEWEST_ROOT, Order
from fleet.errors import Refused
from fleet.trust.keys import SHORT

#: How long each stays valid. The timestamp has to outlast an outage of the server, not a device's absence.
LIFETIMES = {
    "root": timedelta(days=365),
    "targets": timedelta(days=90),
    "snapshot": timedelta(days=30),
    "timestamp": timedelta(days=7),
}
#: Which roles of the root a kind of online key has.
ONLINE = {"targets": ("targets",), "online": ("snapshot", "timestamp")}
_COMPACT = JSONSerializer(compact=True)


def _until(role: str, now: datetime) -> datetime:
    return now.replace(microsecond=0) + LIFETIMES[role]


def next_version(last: int, now: datetime) -> int:
    """Minutes since 1970, so that a server restored from an old copy does not go back; always more than `last`."""
    return max(last + 1, int(now.timestamp() // 60))


# --- The root -------------------------------------------------------------------------------------------------------


def first_root(root: Iterable[Key], targets: Key, online: Key, now: datetime) -> Metadata[Root]:
    made = Metadata(Root(expires=_until("root", now), consistent_snapshot=True))
    for key in root:
        made.signed.add_key(key, "root")
    made.signed.add_key(targets, "targets")
    for role in ONLINE["online"]:
        made.signed.add_key(online, role)
    return made


def read_root(body: bytes) -> Metadata[Root]:
    """Raises Refused for bytes that are no root metadata."""
    try:
        read = Metadata[Root].from_bytes(body)
    except (DeserializationError, RepositoryError) as problem:
        raise Refused(f"This is no metadata of The Update Framework: {problem}.") from problem
    if not isinstance(read.signed, Root):
        raise Refused("This is metadata of The Update Framework, but not of its root.")
    return read


def following(current: bytes, now: datetime) -> Metadata[Root]:
    """The next root before anything is changed in it: one version on, valid anew, unsigned."""
    made = read_root(current)
    made.signatures.clear()
    made.signed.version += 1
    made.signed.expires = _until("root", now)
    return made


def replace_online(root: Root, kind: str, key: Key) -> None:
    """`key` alone signs for this kind from now on."""
    for role in ONLINE[kind]:
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        root.add_key(key, role)


def whole_id(root: Root, beginning: str) -> str:
    """The id of the one key that begins so. Raises Refused."""
    found = [keyid for keyid in root.keys if keyid.startswith(beginning)]
    if not beginning or len(found) != 1:
        raise Refused(f"{len(found)} keys of the root begin with {beginning!r}; name one.")
    return found[0]


def check_threshold(root: Root) -> None:
    role = root.roles["root"]
    if len(role.keyids) < role.threshold:
        raise Refused(
            f"The root would have {len(role.keyids)} keys and need {role.threshold} signatures: "
            "add a key or lower the threshold first."
        )


def sign(metadata: Metadata[Any], signers: Iterable[Signer]) -> None:
    """Add these signatures to those that are there."""
    for signer in signers:
        metadata.sign(signer, append=True)


def as_bytes(metadata: Metadata[Any]) -> bytes:
    return metadata.to_bytes(_COMPACT)


def missing(current: Metadata[Root], new: Metadata[Root]) -> list[str]:
    """What keeps `new` from following `current`, in sentences; nothing when it does.

    Both the keys of the current root and those of the new one have to sign, each up to its threshold.
    """
    if new.signed.version != current.signed.version + 1:
        return [f"It is root {new.signed.version}; the next one is root {current.signed.version + 1}. Export it again."]
    said = []
    for root, whose in ((current.signed, "the current"), (new.signed, "the new")):
        result = root.get_verification_result("root", new.signed_bytes, new.signatures)
        if not result.verified:
            left = ", ".join(sorted(keyid[:SHORT] for keyid in result.unsigned))
            lacking = result.threshold - len(result.signed)
            said.append(f"It needs {lacking} more signature(s) by a key of {whose} root: {left}.")
    return said


# --- What is signed every day ---------------------------------------------------------------------------------------


def targets(version: int, entries: Iterable[tuple[str, int, Order]], now: datetime) -> Metadata[Targets]:
    """entries: digest and length of a manifest, and what is signed beside it."""
    files = {
        digest: TargetFile(length, {"sha256": digest}, digest, {"custom": msgspec.to_builtins(order)})
        for digest, length, order in entries
    }
    return Metadata(Targets(version=version, expires=_until("targets", now), targets=files))


def snapshot(version: int, targets_version: int, now: datetime) -> Metadata[Snapshot]:
    meta = {"targets.json": MetaFile(targets_version)}
    return Metadata(Snapshot(version=version, expires=_until("snapshot", now), meta=meta))


def timestamp(version: int, snapshot_version: int, root_version: int, now: datetime) -> Metadata[Timestamp]:
    own = {ISSUED: int(now.timestamp()), NEWEST_ROOT: root_version}
    expires = _until("timestamp", now)
    return Metadata(
        Timestamp(version=version, expires=expires, snapshot_meta=MetaFile(snapshot_version), unrecognized_fields=own)
    )


def signed_by(root: Root, role: str, metadata: Metadata[Signed], keys: Mapping[str, Signer]) -> bytes:
    """The bytes, signed for `role` by those of its keys that are in `keys`. Raises Refused when that is not enough."""
    sign(metadata, [keys[keyid] for keyid in root.roles[role].keyids if keyid in keys])
    try:
        root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except RepositoryError as problem:
        wanted = ", ".join(sorted(keyid[:SHORT] for keyid in root.roles[role].keyids))
        raise Refused(
            f"The key that signs {role} ({wanted}) is not in the folder of online keys. Put it back, or make another: "
            f"manage.py keys rotate {'targets' if role == 'targets' else 'online'}."
        ) from problem
    return as_bytes(metadata)


# --- Public keys as files -------------------------------------------------------------------------------------------


def public_bytes(key: Key) -> bytes:
    return json.dumps({"keyid": key.keyid, **key.to_dict()}, indent=1).encode() + b"\n"


def read_public(data: bytes) -> Key:
    """Raises Refused for what `public_bytes` has not made."""
    try:
        given = json.loads(data)
        return Key.from_dict(given.pop("keyid"), given)
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise Refused("This is no public key; it is the file that ends in .pub.") from problem
