"""The listener before amqtt: who may connect, under which client id, and what becomes of the connection before.

amqtt touches its session table before it has checked a login, so that anybody could end or inherit anybody's session.
Here a connection goes on to amqtt (`Broker.external_connected`, its hook for foreign listeners) only when

1. it is one of at most `max_connections`, from an address that has not failed too often;
2. its first packet is a whole, well-formed CONNECT of MQTT 3.1.1, within a deadline;
3. name and secret are right; the client id is bound to the name; the last will is one that the client may publish;
4. an earlier connection of the same client id is over, also inside amqtt, and its session may be inherited.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING

from amqtt.adapters import BufferReader
from amqtt.mqtt.connect import ConnectPacket
from amqtt.mqtt.packet import MQTTFixedHeader
from amqtt.session import Session

from agent.wire.access import Identity, client_id_ok, may
from fleet.brokers.embedded import frames
from fleet.brokers.embedded.adapters import Answers, Requests
from fleet.brokers.embedded.connection import Connection
from fleet.brokers.embedded.frames import Frame, FrameError
from fleet.brokers.embedded.plugin import client_of
from fleet.brokers.identities import IdentityTable
from fleet.brokers.rates import FailureThrottle

if TYPE_CHECKING:
    from fleet.brokers.embedded.broker import FleetBroker

logger = logging.getLogger(__name__)

LISTENER = "default"
PROTOCOL = b"\x00\x04MQTT\x04"

#: Looks one name up where identities come from; whether the table has changed by it.
LookUp = Callable[[str], Awaitable[bool]]


class Guard:
    """All connections of one broker."""

    def __init__(self, broker: "FleetBroker", table: IdentityTable, look_up: LookUp | None = None) -> None:
        self.broker, self.limits = broker, broker.limits
        self._table, self._look_up = table, look_up
        self._loop = asyncio.get_running_loop()
        self._throttle = FailureThrottle(self.limits.failed_logins, self.limits.failed_logins_per_second)
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        #: The one connection of each client id that is let in.
        self._live: dict[str, Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None) -> int:
        """The port (a free one for 0). Raises OSError when it is taken."""
        self._server = await self._loop.create_server(
            lambda: Connection(self),
            host,
            port,
            ssl=tls,
            ssl_handshake_timeout=self.limits.connect_timeout if tls else None,
            backlog=1024,  # a fleet that lost its broker comes back all at once
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self, timeout: float) -> None:
        """Stop listening and cut every connection; after `timeout` seconds the rest is left to itself."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)

    async def end(self, names: Collection[str]) -> None:
        """Log these identities out: connections, sessions, what waits for them."""
        ended = [connection for connection in self._live.values() if _name(connection.identity) in names]
        for connection in ended:
            connection.cut("its login is no longer valid")
        for connection in ended:
            try:
                await asyncio.wait_for(connection.finished.wait(), self.limits.connect_timeout)
            except TimeoutError:
                logger.error("amqtt did not let go of the connection of %s", _name(connection.identity))
        for client_id, (session, _) in list(self.broker.sessions.items()):
            client = client_of(session)
            if client is not None and client.identity.name in names:
                await self.broker.forget(client_id)

    # --- A connection's steps ---------------------------------------------------------------------------------------

    def accept(self, connection: Connection) -> None:
        """A connection was opened."""
        self._connections.add(connection)
        if len(self._connections) > self.limits.max_connections:
            connection.refuse(frames.REFUSED_UNAVAILABLE)
        elif not self._throttle.open(connection.address, self._loop.time()):
            connection.abort()

    def begin(self, connection: Connection, frame: Frame) -> None:
        """Its CONNECT has come."""
        task = self._loop.create_task(self._serve(connection, frame))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def admitted(self, session: Session) -> bool:
        """amqtt asks whether to let a session in."""
        connection = self._live.get(session.client_id or "")
        if connection is None or connection.identity is None:
            return False
        self.broker.adopt(session, connection.identity)
        return True

    def opened(self, client_id: str, session: Session) -> None:
        """amqtt has let it in."""
        connection, client = self._live.get(client_id), client_of(session)
        if connection is not None and client is not None:
            connection.open(client)

    def failed(self, connection: Connection) -> None:
        """It did not log in."""
        self._throttle.failed(connection.address, self._loop.time())

    def left(self, connection: Connection) -> None:
        """It is over, also inside amqtt."""
        self._connections.discard(connection)
        if self._live.get(connection.client_id) is connection:
            del self._live[connection.client_id]
        connection.finished.set()

    # --- Inside -----------------------------------------------------------------------------------------------------

    async def _serve(self, connection: Connection, frame: Frame) -> None:
        try:
            if not frame.body.startswith(PROTOCOL):
                connection.refuse(frames.REFUSED_PROTOCOL)
                return
            connect = await _read_connect(frame)
            identity = await self._identify(connection, connect)
            if identity is None or not await self._take_over(connection, identity, connect):
                connection.refuse(frames.REFUSED_NOT_AUTHORIZED)
                return
            await self.broker.external_connected(Requests(connection, frame.encoded()), Answers(connection), LISTENER)
        except FrameError as problem:
            connection.cut(str(problem))
        except Exception:
            # Whatever one client brings amqtt to must not leave a half-open connection, and must be seen.
            logger.exception("The connection of %s at %s failed", _name(connection.identity), connection.address)
        finally:
            connection.close()
            try:
                await self._settle(connection)
            finally:
                self.left(connection)

    async def _identify(self, connection: Connection, connect: ConnectPacket) -> Identity | None:
        """Who it is, if its CONNECT is in order."""
        name, secret = connect.username or "", connect.password or ""
        identity = self._table.verify(name, secret)
        if identity is None and self._look_up is not None and await self._look_up(name):
            identity = self._table.verify(name, secret)
        if identity is None:
            reason = "name and secret do not belong together"
        elif not client_id_ok(identity, connect.client_id or ""):
            reason = f"the client id {connect.client_id!r:.80} is not its own"
        elif connect.will_flag and not may(identity, "publish", connect.will_topic or ""):
            # amqtt publishes a will unchecked, so it is checked here.
            reason = f"its last will goes to {connect.will_topic!r:.80}"
        else:
            return identity
        self.failed(connection)
        logger.info("Login refused for %.80r at %s: %s", name, connection.address, reason)
        return None

    async def _take_over(self, connection: Connection, identity: Identity, connect: ConnectPacket) -> bool:
        """End an earlier connection of this client id, also inside amqtt. Whether the new one may go on.

        amqtt shares one Session between the two: the old one's late goodbye would mark the new one as gone.
        """
        client_id = connect.client_id or ""
        while (earlier := self._live.get(client_id)) is not None:
            if connection.closed or _name(earlier.identity) != identity.name:
                return False
            earlier.cut("the same client connected again")
            try:
                await asyncio.wait_for(earlier.finished.wait(), self.limits.connect_timeout)
            except TimeoutError:
                connection.cut("an earlier connection of the same client did not end")
            if self._table.verify(connect.username or "", connect.password or "") is None:
                return False  # its login, too, ended meanwhile
        if connection.closed:
            return False
        # Nothing may be awaited between the test above and this line: a third connection could come between.
        self._live[client_id] = connection
        wanted = connect.keep_alive or self.limits.max_keepalive
        connection.admit(identity, client_id, min(wanted, self.limits.max_keepalive))
        session = self.broker.session(client_id)
        if session is not None:
            session.will_retain = connect.will_retain_flag  # all else of a new CONNECT amqtt copies itself
        return True

    async def _settle(self, connection: Connection) -> None:
        """Leave nothing behind that a later connection of this client id must not inherit.

        That is a clean session, which amqtt keeps for up to a second, and one that it left marked as connected because
        it stumbled.
        """
        if self._live.get(connection.client_id) is connection:
            session = self.broker.session(connection.client_id)
            if session is not None and (session.clean_session or session.transitions.is_connected()):
                await self.broker.forget(connection.client_id)


def _name(identity: Identity | None) -> str:
    return identity.name if identity else "a client without login"


async def _read_connect(frame: Frame) -> ConnectPacket:
    """A CONNECT as amqtt will read it. Raises FrameError when it is not one to its last byte."""
    reader = BufferReader(frame.encoded())
    try:
        header = await MQTTFixedHeader.from_stream(reader)
        connect = await ConnectPacket.from_stream(reader, header)
    except Exception as problem:
        # amqtt's decoder meets hostile bytes with any kind of error; each means the same.
        raise FrameError(f"its CONNECT cannot be read: {problem!r:.120}") from problem
    if await reader.read():
        raise FrameError("its CONNECT has content beyond its fields")
    return connect
