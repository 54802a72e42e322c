"""First boot: the device makes its own secret and asks to be let in.

1. Make nonce and secret and store them, fsynced, before anything is sent: a power cut then repeats the same request,
   and the server answers a repeated request as it did the first.
2. Log in as `enroll-<token id>-<number>` with the token's secret, and subscribe to the reply for this nonce alone.
3. Ask until there is an answer. `pending` and `rejected` are answers that may change, so ask again, more slowly.
4. `accepted` carries the root of trust and the device id: store them. The device logs in with its id and its own
   secret from now on, and trusts what chains to that root.
"""

import logging
import queue
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from agent import __version__
from agent.config import ConfigError, Settings
from agent.files import write_atomically
from agent.link.backoff import delay
from agent.link.connection import Connection, Credentials
from agent.link.driving import Driver, OwnThread
from agent.pulse import Pulse
from agent.wire import codec, topics
from agent.wire.access import ENROLL_LOGINS, enroll_login
from agent.wire.hardware import Hardware
from agent.wire.messages import EnrollReply, EnrollRequest

log = logging.getLogger(__name__)

FILE = "identity.json"
#: The root metadata from which this device trusts releases (`agent.deployment.provenance`).
ROOT_FILE = "root.json"
#: Seconds until the next question, first and longest, after each kind of answer.
PATIENCE = {"none": (2.0, 60.0), "pending": (5.0, 60.0), "other": (60.0, 900.0)}


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who this device is. Without a device id it is not enrolled yet."""

    schema: Literal[1] = 1
    nonce: str
    secret: str
    device_id: str = ""

    def __repr__(self) -> str:
        return f"Identity(nonce={self.nonce!r}, device_id={self.device_id!r})"


def read(data: Path) -> Identity | None:
    """The stored identity. Raises ConfigError when the file is there but damaged."""
    path = data / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Identity)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise ConfigError(
            f"The identity in {path} cannot be read: {problem}. Restore it from a copy; or delete it, and the device "
            "enrolls as a new one."
        ) from problem


def read_or_make(data: Path) -> Identity:
    found = read(data)
    if found:
        return found
    made = Identity(nonce=secrets.token_urlsafe(18), secret=secrets.token_urlsafe(32))
    _write(data, made)
    return made


def _write(data: Path, identity: Identity) -> None:
    write_atomically(data / FILE, msgspec.json.encode(identity), mode=0o600)


class Enrollment:
    """Steps 2 to 4 for one identity. on_reply hears each answer that is no acceptance and not the one before."""

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        hardware: Hardware,
        simulated: bool,
        on_reply: Callable[[EnrollReply], None] = lambda _: None,
        drive: Callable[[Connection], Driver] = OwnThread,
    ) -> None:
        token_id, _, token_secret = settings.token.partition(".")
        if not token_secret:
            raise ConfigError(
                "The device is not enrolled yet and has no enrollment token. Make one on the server's page "
                "for enrollment tokens, and give it as --token or EDGE_AGENT_TOKEN."
            )
        login = enroll_login(token_id, secrets.randbelow(ENROLL_LOGINS))
        self._identity = identity
        self._on_reply = on_reply
        self._data = settings.data
        self._topic = topics.enroll_request(identity.nonce)
        self._body = codec.encode(
            EnrollRequest(
                token=settings.token,
                secret=identity.secret,
                name=settings.name,
                hardware=hardware,
                agent_version=__version__,
                simulated=simulated,
                tags=settings.tags,
            )
        )
        self._replies: queue.SimpleQueue[EnrollReply] = queue.SimpleQueue()
        self._connected = threading.Event()
        self._connection = Connection(
            settings.server,
            Credentials(f"enroll-{identity.nonce}", login, token_secret),
            on_message=self._received,
            on_connected=self._connected.set,
            subscriptions=(topics.enroll_reply(identity.nonce),),
            persistent=False,
            drive=drive,
        )

    @property
    def pulse(self) -> Pulse:
        """Of the link; who runs this waits in a thread of his own."""
        return self._connection.pulse

    def run(self, stop: threading.Event) -> Identity | None:
        """The enrolled identity, already stored; None when stopped before there was one."""
        self._connection.start()
        try:
            accepted = self._ask(stop)
        finally:
            self._connection.stop()
        if accepted is None:
            return None
        if accepted.root:
            # First: with the id alone it would never ask again.
            write_atomically(self._data / ROOT_FILE, accepted.root.encode())
        enrolled = msgspec.structs.replace(self._identity, device_id=accepted.device_id)
        _write(self._data, enrolled)
        log.info("enrolled as %s", accepted.device_id)
        return enrolled

    def _ask(self, stop: threading.Event) -> EnrollReply | None:
        """The acceptance, once there is one; None when stopped."""
        asked, told = 0, None
        while not stop.is_set():
            if self._connection.publish(self._topic, self._body) is None:
                self._connected.clear()
                _wait(stop, self._connected, 60.0)
                continue
            reply = self._answer(stop, delay(asked, *PATIENCE["none"]))
            asked += 1
            while reply is not None:
                if reply.status == "accepted" and topics.SAFE_ID.match(reply.device_id):
                    return reply
                if reply != told:
                    asked, told = 0, reply
                    log.warning("enrollment is %s%s", reply.status, f": {reply.reason}" if reply.reason else "")
                    self._on_reply(reply)
                # A person may let it in at any time: the next answer can come without a question.
                reply = self._answer(stop, delay(asked, *PATIENCE["pending" if reply.status == "pending" else "other"]))
        return None

    def _answer(self, stop: threading.Event, seconds: float) -> EnrollReply | None:
        """What comes within `seconds`."""
        step = 0.2
        while seconds > 0 and not stop.is_set():
            try:
                return self._replies.get(timeout=min(step, seconds))
            except queue.Empty:
                seconds -= step
        return None

    def _received(self, topic: str, body: bytes) -> None:
        try:
            self._replies.put(codec.decode(body, EnrollReply))
        except codec.WireError as problem:
            log.warning("a message on %s was not taken: %s", topic, problem)


def _wait(stop: threading.Event, event: threading.Event, seconds: float) -> None:
    """Until the event, the stop, or `seconds` have passed."""
    step = 0.2
    while seconds > 0 and not stop.is_set() and not event.wait(min(step, seconds)):
        seconds -= step
