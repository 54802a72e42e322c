"""Brokers that the access tests run against. Another one needs this Protocol and a line in `conftest.TARGETS`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.wire.access import Kind
from fleet.brokers.embedded.broker import EmbeddedBroker, tls_context
from fleet.brokers.embedded.limits import Limits
from fleet.brokers.identities import Credential, IdentityTable
from fleet.devices.credentials import digest, new_salt

#: Connections that a target allows.
MAX_CONNECTIONS = 30


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files: an authority, and a certificate for 127.0.0.1 with its key."""

    ca: Path
    certificate: Path
    key: Path


class Target(Protocol):
    """A broker with `server` and any number of devices and enrollment tokens."""

    #: Where devices and the server connect; the same, or a port for each.
    device_port: int
    server_port: int
    #: The authority's file that devices need; empty without TLS.
    ca: str

    def start(self, secrets: Mapping[str, str]) -> None:
        """With these logins: `server`, tokens (`enroll-…`), devices (every other name)."""

    def revoke(self, name: str) -> None:
        """End this login, and its connection."""

    def stop(self) -> None: ...


def credential(kind: Kind, secret: str, *, active: bool = True) -> Credential:
    salt = new_salt()
    return Credential(kind, active, salt, digest(secret, salt))


def table_of(secrets: Mapping[str, str]) -> IdentityTable:
    table = IdentityTable("server", secrets["server"])
    table.update(
        {
            name: credential("enroll" if name.startswith("enroll-") else "device", secret)
            for name, secret in secrets.items()
            if name != "server"
        }
    )
    return table


class Embedded:
    """The embedded broker, over TCP or over TLS."""

    def __init__(self, certificates: Certificates | None = None) -> None:
        self._certificates = certificates
        self.ca = str(certificates.ca) if certificates else ""

    def start(self, secrets: Mapping[str, str]) -> None:
        files = self._certificates
        tls = tls_context(str(files.certificate), str(files.key)) if files else None
        # The battery fails logins on purpose, far more often than a device does.
        limits = Limits(max_connections=MAX_CONNECTIONS, failed_logins=1000)
        self._broker = EmbeddedBroker(table_of(secrets), tls=tls, limits=limits).start()
        self.device_port = self.server_port = self._broker.port

    def revoke(self, name: str) -> None:
        self._broker.update({name: credential("device", "", active=False)})

    def stop(self) -> None:
        self._broker.stop()
