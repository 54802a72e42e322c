"""amqtt with our routing, and the whole broker as one thing to start and to stop."""

import asyncio
import errno
import logging
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress

import amqtt
import uvloop
from amqtt.broker import Broker
from amqtt.contexts import Action
from amqtt.session import Session

from agent.wire import topics
from agent.wire.access import Identity
from fleet.brokers.embedded.frames import Publish
from fleet.brokers.embedded.guard import LISTENER, Guard, LookUp
from fleet.brokers.embedded.lanes import Budget, Lane, Publication
from fleet.brokers.embedded.limits import Limits
from fleet.brokers.embedded.plugin import CLIENT, Client, FleetAccess, client_of
from fleet.brokers.embedded.routing import Retained, Subscriptions, valid_filter
from fleet.brokers.follower import DatabaseAwayError, Follower
from fleet.brokers.identities import Credential, IdentityTable

logger = logging.getLogger(__name__)

AMQTT_VERSION = "0.12.1"
#: The answer to a subscription that is not granted.
NOT_GRANTED = 0x80
#: Seconds for connections to end, and for amqtt to close, when the broker stops.
FAREWELL = 0.7


class BrokerError(Exception):
    """Why the broker cannot start: a sentence for the person who starts it."""


class FleetBroker(Broker):
    """amqtt's sessions, logins, last wills; our subscriptions, routing and retained messages.

    amqtt compares each message with every filter, starts a task for each receiver, queues without bound, and on every
    CONNECT publishes all retained messages that match anybody's subscription to whoever connects. So its tables of
    subscriptions and retained messages stay empty and its broadcast queue too; the methods below (those with an
    underscore are private to amqtt, hence the exact version) lead each message into the receivers' lanes instead.
    """

    def __init__(self, table: IdentityTable, limits: Limits, look_up: LookUp | None = None) -> None:
        if amqtt.__version__ != AMQTT_VERSION:
            raise BrokerError(
                f"amqtt {amqtt.__version__} is installed, but the embedded broker overrides private methods of "
                f"{AMQTT_VERSION}. Install that version, or test the new one and change AMQTT_VERSION."
            )
        self.limits = limits
        self.guard = Guard(self, table, look_up)
        super().__init__(
            {
                "listeners": {LISTENER: {"type": "external"}},
                "session_expiry_interval": limits.session_expiry,
                "plugins": {f"{FleetAccess.__module__}.{FleetAccess.__qualname__}": {"guard": self.guard}},
            }
        )
        self.budget = Budget(limits.max_queued)
        self._routes: Subscriptions[tuple[Lane, int]] = Subscriptions()
        self._retained: Retained[Publish] = Retained()

    def session(self, client_id: str) -> Session | None:
        return self.sessions.get(client_id, (None, None))[0]

    def adopt(self, session: Session, identity: Identity) -> None:
        """Give a session that was let in its lane, if it is a new one."""
        if identity.kind == "enroll":
            # Client ids of enrollment are free to choose: kept sessions would be memory for whoever has a token.
            session.clean_session = True
        if client_of(session) is None:
            limits = self.limits.server_lane if identity.kind == "server" else self.limits.device_lane
            lane = Lane(session.client_id or "", limits, self.budget, persistent=not session.clean_session)
            session.attributes[CLIENT] = Client(identity, lane)

    async def keep_for(self, client_id: str, identity: Identity, filters: Iterable[str]) -> None:
        """A persistent session for a client that has not connected yet."""
        handler, session = self.create_offline_session(client_id)
        self.sessions[client_id] = session, handler
        self.adopt(session, identity)
        for topic_filter in filters:
            await self.add_subscription((topic_filter, 1), session)

    async def forget(self, client_id: str) -> None:
        """Drop a session with its subscriptions and all that waits for it."""
        await self._cleanup_session(client_id)

    # --- Messages ---------------------------------------------------------------------------------------------------

    def publish(self, sender: Identity, message: Publish) -> list[Lane]:
        """Lead a message that `sender` may publish to everyone who wants it. Returns the lanes to wait for."""
        if message.retain:
            self._retain(sender, message)
        publication = Publication(message.topic, message.payload)
        return [
            lane
            for lane, granted in self._routes.match(message.topic).values()
            if lane.push(publication, min(message.qos, granted))
        ]

    def _retain(self, sender: Identity, message: Publish) -> None:
        topic, payload = message.topic, message.payload
        if sender.kind != "server" and (
            topic != topics.up(sender.name, "state") or len(payload) > self.limits.max_device_retained
        ):
            return  # delivered, but not kept: a device has one retained message, or it could fill the memory
        if payload:
            self._retained.set(topic, message)
        else:
            self._retained.remove(topic)

    async def _broadcast_message(
        self, session: Session | None, topic: str | None, data: bytes | bytearray | None, force_qos: int | None = None
    ) -> None:
        """amqtt publishes a last will."""
        client = client_of(session)
        if client is not None and topic:
            self.publish(client.identity, Publish(topic, bytes(data or b""), min(force_qos or 0, 1), False, 0))

    async def retain_message(
        self,
        source_session: Session | None,
        topic_name: str | None,
        data: bytes | bytearray | None,
        qos: int | None = None,
    ) -> None:
        """amqtt retains a last will."""
        client = client_of(source_session)
        if client is not None and topic_name:
            self._retain(client.identity, Publish(topic_name, bytes(data or b""), min(qos or 0, 1), True, 0))

    # --- Subscriptions ----------------------------------------------------------------------------------------------

    async def add_subscription(self, subscription: tuple[str, int], session: Session) -> int:
        """The granted QoS, or NOT_GRANTED."""
        topic_filter, qos = subscription
        client = client_of(session)
        if client is None or not session.client_id:
            return NOT_GRANTED
        full = len(client.filters) >= self.limits.max_filters and topic_filter not in client.filters
        if (
            full
            or len(topic_filter) > self.limits.max_filter_length
            or topic_filter.startswith("$")
            or not valid_filter(topic_filter)
            or not await self._topic_filtering(session, topic_filter, Action.SUBSCRIBE)
        ):
            logger.warning("%s may not subscribe to %.80r", client.identity.name, topic_filter)
            return NOT_GRANTED
        granted = min(qos, 1)
        self._routes.add(topic_filter, session.client_id, (client.lane, granted))
        client.filters.add(topic_filter)
        return granted

    def _del_subscription(self, a_filter: str, session: Session) -> int:
        client = client_of(session)
        if client is None or not session.client_id or a_filter not in client.filters:
            return 0
        client.filters.discard(a_filter)
        self._routes.remove(a_filter, session.client_id)
        return 1

    async def _del_all_subscriptions(self, session: Session) -> None:
        """amqtt calls this when a session is over."""
        client = client_of(session)
        if client is not None:
            for topic_filter in list(client.filters):
                self._del_subscription(topic_filter, session)
            client.lane.close()

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """amqtt calls this for each subscription that was granted."""
        client = client_of(session)
        if client is None:
            return
        topic_filter, qos = subscription
        for topic, message in self._retained.find(topic_filter):
            publication = Publication(topic, message.payload, kept=True)
            client.lane.push(publication, min(qos, message.qos), retain=True)


class EmbeddedBroker:
    """The broker with its listener: `serve` inside an event loop, or `start` and `stop` around a thread of its own."""

    def __init__(
        self,
        table: IdentityTable,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        tls: ssl.SSLContext | None = None,
        limits: Limits | None = None,
        follower: Follower | None = None,
        standing: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        """`port` 0 takes a free one. `follower` fills the table and keeps it true; without it, `update` does.

        standing: filters by client id of the server, for which messages are kept from the start. Devices are quick to
        come back to a broker that was started again, and what they say before the gateway is back must not be lost.
        """
        self.table, self.host, self.port = table, host, port
        self._tls, self._limits, self._follower = tls, limits or Limits(), follower
        self._standing = standing or {}
        self._broker: FleetBroker | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._thread: threading.Thread | None = None

    async def serve(self, ready: Callable[[], None]) -> None:
        """Serve until `stop`. Calls `ready` once connections are taken. Raises BrokerError when it cannot start."""
        self._loop = asyncio.get_running_loop()
        work = asyncio.create_task(self._serve(ready))
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work

    async def _serve(self, ready: Callable[[], None]) -> None:
        """Until cancelled, or until following the database fails: then nobody would be logged out any more."""
        follower = self._follower
        try:
            if follower is not None:
                await follower.load()
            self._broker = broker = FleetBroker(self.table, self._limits, follower.look_up if follower else None)
            await broker.start()
            try:
                for client_id, filters in self._standing.items():
                    await broker.keep_for(client_id, Identity(client_id, "server"), filters)
                await self._listen(broker.guard)
                ready()
                if follower is not None:
                    follower.end = broker.guard.end
                    await follower.follow()
                await asyncio.Event().wait()
            finally:
                await broker.guard.close(FAREWELL)
                await asyncio.wait([asyncio.create_task(broker.shutdown())], timeout=FAREWELL)
        except DatabaseAwayError as problem:
            raise BrokerError(problem.at_start) from problem
        finally:
            if follower is not None:
                follower.close()

    async def _listen(self, guard: Guard) -> None:
        try:
            self.port = await guard.listen(self.host, self.port, self._tls)
        except OSError as problem:
            raise BrokerError(_listen_problem(self.host, self.port, problem)) from problem

    def stop(self) -> None:
        """Stop `serve`; from any thread, and from a signal handler of the loop."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread is not None:
            self._thread.join(10)

    def start(self) -> "EmbeddedBroker":
        """Serve in a thread. Returns when connections are taken; raises what `serve` raises."""
        ready = threading.Event()
        problems: list[BaseException] = []

        def run() -> None:
            try:
                run_loop(self.serve(ready.set))
            except BaseException as problem:
                problems.append(problem)
            finally:
                ready.set()

        self._thread = threading.Thread(target=run, name="broker", daemon=True)
        self._thread.start()
        ready.wait()
        if problems:
            raise problems[0]
        return self

    def update(self, credentials: Mapping[str, Credential]) -> None:
        """Change identities of a broker that was started in a thread; logs out those whose login has ended."""
        self._call(self._update(credentials))

    async def _update(self, credentials: Mapping[str, Credential]) -> None:
        if self._broker is not None:
            await self._broker.guard.end(self.table.update(credentials))

    @property
    def queued_bytes(self) -> int:
        """Payload bytes that wait for clients, in all lanes together."""
        return self._broker.budget.used if self._broker else 0

    def _call(self, work: Coroutine[object, object, None]) -> None:
        if self._loop is None:
            raise BrokerError("The broker was not started.")
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


def run_loop(work: Coroutine[object, object, None]) -> None:
    """Run to the end in an event loop of uvloop, which moves messages a third faster than Python's own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """From two PEM files. Raises BrokerError when they are not there or do not belong together."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as problem:
        raise BrokerError(
            f"TLS cannot be used with MQTT_TLS_CERTIFICATE={certificate!r} and MQTT_TLS_KEY={key!r}: {problem}. "
            f"Both must be PEM files, the key must belong to the certificate and have no passphrase."
        ) from problem
    return context


def _listen_problem(host: str, port: int, problem: OSError) -> str:
    if problem.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is taken by another process. Stop that one, or choose another in MQTT_URL."
    return f"The broker cannot listen on {host}:{port} ({problem}). Set MQTT_BIND to an address of this machine."
