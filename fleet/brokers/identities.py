"""Who may log in to a broker: devices, enrollment tokens and the server itself, with their hashed secrets.

Pure: `follower` fills the table from the database.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from agent.wire.access import Identity, Kind
from agent.wire.topics import SAFE_ID
from fleet.devices.credentials import digest, matches, new_salt

#: Logins of enrollment tokens begin so, and the server's; a device may not be called that.
ENROLL, SERVER = "enroll-", "server-"
#: The server's connections, by name: what comes up, what goes down, the blocks, and the one that administers logins.
ADMIN = "server-logins"
SERVERS = ("server-inbox", "server-outbox", "server-blocks", ADMIN)


@dataclass(frozen=True, slots=True)
class Credential:
    """One login: what its secret hashes to (fleet.devices.credentials), and whether it is valid now."""

    kind: Kind
    active: bool
    salt: bytes
    digest: bytes


def name_ok(name: str, kind: Kind) -> bool:
    """Whether an identity may be called that: names are put into topics, and kinds must not borrow each other's."""
    if not SAFE_ID.match(name) or name.startswith(SERVER):
        return False
    return name.startswith(ENROLL) == (kind == "enroll")


def token_of(name: str) -> str:
    """The id of the enrollment token that a login belongs to."""
    return name.removeprefix(ENROLL).rpartition("-")[0]


class IdentityTable:
    """All logins of one broker, in memory. Used by one thread (the broker's event loop)."""

    def __init__(self, server_secret: str) -> None:
        self._server = _credential("server", server_secret)
        #: Names that nobody has are checked against this, so that they take as long as those that somebody has.
        self._decoy = _credential("device", secrets.token_urlsafe(32))
        self._rows: dict[str, Credential] = {}

    def __len__(self) -> int:
        """Logins that are known, the server's included."""
        return len(self._rows) + 1

    def verify(self, name: str, secret: str) -> Identity | None:
        """Who logs in with this name and secret; None unless both are right and the login is valid. About 0.1 ms."""
        row = self._server if name.startswith(SERVER) else self._rows.get(name)
        known = row or self._decoy
        if not matches(secret, known.salt, known.digest) or row is None or not row.active:
            return None
        return Identity(name, row.kind)

    def update(self, credentials: Mapping[str, Credential]) -> list[str]:
        """Add and change logins. Returns the names whose earlier login is over: no longer valid, or another secret."""
        return [name for name, credential in credentials.items() if self._set(name, credential)]

    def replace(self, credentials: Mapping[str, Credential]) -> list[str]:
        """The whole table anew. Returns the names whose earlier login is over; also those that are missing."""
        gone = [name for name in self._rows if name not in credentials]
        for name in gone:
            del self._rows[name]
        return gone + self.update(credentials)

    def _set(self, name: str, credential: Credential) -> bool:
        if not name_ok(name, credential.kind):
            return False
        earlier = self._rows.get(name)
        self._rows[name] = credential
        return (
            earlier is not None and earlier.active and not (credential.active and credential.digest == earlier.digest)
        )


def _credential(kind: Kind, secret: str) -> Credential:
    salt = new_salt()
    return Credential(kind, True, salt, digest(secret, salt))
