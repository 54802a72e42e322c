"""One MQTT session that is kept up: reconnects by itself, remembers its subscriptions, never queues in memory.

Whatever must survive a lost link is kept on disk by the one who sends it; `publish` refuses while there is no link.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from agent.addresses import Server
from agent.link.backoff import delay
from agent.link.driving import Driver, OwnThread
from agent.pulse import Pulse

log = logging.getLogger(__name__)

KEEPALIVE = 20
CONNECT_TIMEOUT = 5.0
#: Seconds between attempts to connect: the first and the longest.
RETRY_FIRST, RETRY_LONGEST = 0.5, 60.0
#: A connection that lived this long was a good one: the next loss begins with a short wait again.
STEADY_SECONDS = 10.0
#: Seconds after which a network thread that does nothing hangs: names are looked up and TLS is agreed on within them.
STANDSTILL_SECONDS = 180.0
#: Messages that may wait for their PUBACK.
MAX_UNACKNOWLEDGED = 500


@dataclass(frozen=True, slots=True)
class Credentials:
    client_id: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Message:
    topic: str
    body: bytes
    retain: bool = False


class Delivery:
    """A message on its way to the broker; a lost link only delays it."""

    def __init__(self, info: paho.MQTTMessageInfo) -> None:
        self._info = info
        #: It will never arrive: send it again.
        self.lost = False

    def wait(self, seconds: float) -> bool:
        """Whether the broker has acknowledged it, after at most `seconds`."""
        try:
            self._info.wait_for_publish(seconds)
            return self._info.is_published()
        except (RuntimeError, ValueError):
            self.lost = True
            return False


class Connection:
    """A session with the broker. Callbacks run in its network thread and must be quick.

    on_connected runs after every (re)connect, once the subscriptions are made; on_message for each message;
    will gives the last will for the attempt that follows. drive makes what gives it its turns: a thread of its own, or
    one for many (`agent.link.shared_loop`).
    """

    def __init__(
        self,
        server: Server,
        credentials: Credentials,
        *,
        on_message: Callable[[str, bytes], None],
        on_connected: Callable[[], None] = lambda: None,
        will: Callable[[], Message | None] = lambda: None,
        subscriptions: tuple[str, ...] = (),
        persistent: bool = True,
        drive: Callable[["Connection"], Driver] = OwnThread,
    ) -> None:
        self._server = server
        self._on_message = on_message
        self._on_connected = on_connected
        self._will = will
        self._filters = set(subscriptions)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._up = threading.Event()
        self._awaited: set[int] = set()
        self._connected_at = 0.0
        self._attempt = 0
        #: Bytes of topics and bodies, for a simulated device's network figures.
        self.received = 0
        self.sent = 0
        self.client = self._new_client(credentials, persistent)
        self._driver = drive(self)
        self.pulse = Pulse("link", STANDSTILL_SECONDS, self._driver.thread)

    def _new_client(self, credentials: Credentials, persistent: bool) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=credentials.client_id,
            clean_session=not persistent,
            protocol=paho.MQTTv311,
            reconnect_on_failure=False,  # `_run` does it, with jitter
        )
        client.username_pw_set(credentials.username, credentials.password)
        if self._server.tls:
            client.tls_set(ca_certs=str(self._server.ca) if self._server.ca else None)
        client.connect_timeout = CONNECT_TIMEOUT
        client.max_queued_messages_set(MAX_UNACKNOWLEDGED)
        client.on_socket_open = _no_delay
        # With this set, only the network thread writes. Without it paho writes from the thread that publishes, and
        # two of them can tear each other's packets apart when the socket is full.
        client.on_socket_register_write = lambda *_: self._driver.to_write()
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._disconnected
        client.on_message = self._received
        return client

    # --- Used from any thread ---

    @property
    def connected(self) -> bool:
        """Whether the session is up and its subscriptions are made."""
        return self._up.is_set()

    def start(self) -> None:
        self._driver.start()

    def stop(self, farewell: Message | None = None, seconds: float = 1.0) -> None:
        """Say `farewell` if there is a link, then leave for good."""
        if farewell and (sent := self.publish(farewell.topic, farewell.body, farewell.retain)):
            sent.wait(seconds)
        self._stopping.set()
        self._up.clear()
        self.client.disconnect()
        self._driver.leave(seconds)
        self.client._reset_sockets()  # paho itself closes its wake-up sockets only when it is collected

    def publish(self, topic: str, body: bytes, retain: bool = False) -> Delivery | None:
        """Send with QoS 1; None when it could not be handed to a live link (send it again after the next connect)."""
        if not self._up.is_set():
            return None
        info = self.client.publish(topic, body, qos=1, retain=retain)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            return None
        self.sent += len(topic) + len(body)
        return Delivery(info)

    def subscribe(self, topic_filter: str) -> None:
        with self._lock:
            self._filters.add(topic_filter)
        if self.client.is_connected():
            self.client.subscribe(topic_filter, qos=1)

    def unsubscribe(self, topic_filter: str) -> None:
        with self._lock:
            self._filters.discard(topic_filter)
        if self.client.is_connected():
            self.client.unsubscribe(topic_filter)

    # --- The network thread: whoever drives it ---

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def wait_for_stop(self, seconds: float) -> None:
        self._stopping.wait(seconds)

    def connect(self) -> bool:
        """Begin an attempt: whether the broker's address took it. Raises OSError or ValueError."""
        self.pulse.beat()
        self._connected_at = 0.0
        if will := self._will():
            self.client.will_set(will.topic, will.body, qos=1, retain=will.retain)
        return self.client.connect(self._server.host, self._server.port, KEEPALIVE) == paho.MQTT_ERR_SUCCESS

    def lost(self, problem: Exception | None = None) -> float:
        """The attempt, or the link that it became, has ended; seconds until the next one."""
        self._up.clear()
        steady = self._connected_at and time.monotonic() - self._connected_at > STEADY_SECONDS
        self._attempt = 0 if steady else self._attempt + 1
        pause = delay(self._attempt, RETRY_FIRST, RETRY_LONGEST)
        if not self.stopping:
            why = problem or "the broker closed the connection"
            log.warning("no link to %s:%d (%s), next attempt in %.1f s", *self._address, why, pause)
        return pause

    @property
    def _address(self) -> tuple[str, int]:
        return self._server.host, self._server.port

    def _connected(self, client: paho.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if code.is_failure:
            log.error("the broker at %s:%d refused the login: %s", *self._address, code)
            return
        if self._stopping.is_set():  # told to stop while this attempt was under way
            client.disconnect()
            return
        self._connected_at = time.monotonic()
        log.info("connected to %s:%d", *self._address)
        with self._lock:
            # A broker that restarted has forgotten the session, so every subscription is made again.
            wanted = [(topic_filter, 1) for topic_filter in sorted(self._filters)]
        _, number = client.subscribe(wanted) if wanted else (0, None)
        self._awaited = {number} if number is not None else set()
        if not self._awaited:
            self._ready()

    def _subscribed(self, _client: paho.Client, _data: Any, number: int, codes: Any, _properties: Any) -> None:
        if any(code.is_failure for code in codes):
            log.error("the broker refused a subscription: %s", ", ".join(map(str, codes)))
        if number in self._awaited:
            self._awaited.discard(number)
            self._ready()

    def _ready(self) -> None:
        self._up.set()
        self._guarded(self._on_connected)

    def _disconnected(self, *_: Any) -> None:
        self._up.clear()

    def _received(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        self.received += len(message.topic) + len(message.payload)
        self._guarded(self._on_message, message.topic, bytes(message.payload))

    def _guarded(self, handler: Callable[..., None], *arguments: Any) -> None:
        """A handler's error must not end the network thread: it would take the whole link with it."""
        try:
            handler(*arguments)
        except Exception:
            log.exception("a message handler failed")


def _no_delay(_client: paho.Client, _data: Any, connection: Any) -> None:
    """Small messages go out at once and are not held back for others."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
