"""Brokers that the access tests run against. Another one needs this Protocol and a line in `conftest.TARGETS`."""

import asyncio
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from django.test import override_settings

from agent.wire.access import Kind
from fleet.brokers.embedded.broker import EmbeddedBroker, tls_context
from fleet.brokers.embedded.limits import Limits
from fleet.brokers.identities import Credential, IdentityTable
from fleet.brokers.mosquitto.broker import MosquittoBroker
from fleet.brokers.mosquitto.configuration import Place
from fleet.brokers.mosquitto.logins import Logins
from fleet.devices.credentials import digest, new_salt
from tests.ports import free_port

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
    #: Whether it holds to a number of connections; else that is a firewall's work.
    limits_connections: bool

    def start(self, secrets: Mapping[str, str]) -> None:
        """With these logins: `server`, tokens (`enroll-…`), devices (every other name)."""

    def revoke(self, name: str) -> None:
        """End this login, and its connection."""

    def stop(self) -> None: ...


def credential(kind: Kind, secret: str, *, active: bool = True) -> Credential:
    salt = new_salt()
    return Credential(kind, active, salt, digest(secret, salt))


def credentials_of(secrets: Mapping[str, str]) -> dict[str, Credential]:
    return {
        name: credential("enroll" if name.startswith("enroll-") else "device", secret)
        for name, secret in secrets.items()
        if name != "server"
    }


def table_of(secrets: Mapping[str, str]) -> IdentityTable:
    table = IdentityTable(secrets["server"])
    table.update(credentials_of(secrets))
    return table


class Embedded:
    """The embedded broker, over TCP or over TLS."""

    limits_connections = True

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


class StandsStill:
    """A follower for logins that come from the test, not from a database."""

    async def load(self) -> None: ...

    async def follow(self) -> None:
        await asyncio.Event().wait()

    async def look_up(self, name: str) -> bool:
        return False

    def close(self) -> None: ...


class OurMosquitto:
    """mosquitto as `manage.py broker` runs it, over TCP or over TLS."""

    limits_connections = False

    def __init__(self, certificates: Certificates | None = None) -> None:
        self._certificates = certificates
        self.ca = str(certificates.ca) if certificates else ""

    def start(self, secrets: Mapping[str, str]) -> None:
        files = self._certificates
        self.device_port = self.server_port = port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="edgefleet-mosquitto-")
        tls = {"certificate": str(files.certificate), "key": str(files.key)} if files else {}
        place = Place(Path(self._folder.name), "127.0.0.1", port, **tls)
        self._settings = override_settings(
            MQTT_HOST="127.0.0.1",
            MQTT_PORT=port,
            MQTT_TLS=bool(files),
            MQTT_TLS_CA=self.ca,
            MQTT_SERVER_SECRET=secrets["server"],
        )
        self._settings.enable()
        self.logins = Logins(lambda token_id: "")
        self.logins.update(credentials_of(secrets))
        self._broker = MosquittoBroker(self.logins, StandsStill(), secrets["server"], place)
        ready = threading.Event()
        self._problem: BaseException | None = None

        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self._broker.serve(ready.set)

        def run() -> None:
            try:
                asyncio.run(serve())
            except BaseException as problem:
                self._problem = problem
            finally:
                ready.set()

        self._thread = threading.Thread(target=run, name="mosquitto", daemon=True)
        self._thread.start()
        ready.wait()
        if self._problem:
            raise self._problem

    def change(self, credentials: Mapping[str, Credential]) -> None:
        self._loop.call_soon_threadsafe(self.logins.update, credentials)

    def revoke(self, name: str) -> None:
        self.change({name: credential("device", "", active=False)})

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._broker.stop)
        self._thread.join(15)
        self._settings.disable()
        self._folder.cleanup()
        assert not self._thread.is_alive()
