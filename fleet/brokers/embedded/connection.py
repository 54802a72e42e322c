"""One client's connection: frames checked, the frequent packets handled at once, the rare ones given to amqtt."""

import asyncio
import logging
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, cast

from agent.wire.access import Identity, may
from fleet.brokers.embedded import frames
from fleet.brokers.embedded.frames import Frame, FrameError, Splitter
from fleet.brokers.embedded.lanes import Lane
from fleet.brokers.embedded.limits import KIB
from fleet.brokers.embedded.plugin import Client

if TYPE_CHECKING:
    from fleet.brokers.embedded.guard import Guard

logger = logging.getLogger(__name__)

#: Packets below this are collected until the loop's next step and written together: a system call for each was most
#: of the broker's time.
SMALL = 4096
#: Bytes that are collected at most before the transport has a say.
COLLECTED = 64 * KIB
#: Packets of one client that are handled before the others have their turn: a chunk can hold 100,000 tiny ones.
AT_A_TIME = 256


class Phase(Enum):
    #: Waiting for the first packet.
    NEW = 0
    #: The login is being checked; nothing is read meanwhile.
    LOGIN = 1
    OPEN = 2
    #: The client has said goodbye; what it sends after that is not looked at.
    LEAVING = 3


class Connection(asyncio.Protocol):
    """A Sink for its client's lane, and a bounded source of packets for amqtt."""

    def __init__(self, guard: "Guard") -> None:
        self.identity: Identity | None = None
        self.client_id = ""
        self.address = ""
        self.closed = False
        #: Set when amqtt, too, has let go of this connection.
        self.finished = asyncio.Event()
        #: Packets for amqtt, encoded; empty bytes for the end.
        self.requests: asyncio.Queue[bytes] = asyncio.Queue()
        self.transport: asyncio.Transport
        self._guard, self._limits = guard, guard.limits
        self._loop = asyncio.get_running_loop()
        self._phase = Phase.NEW
        self._client: Client | None = None
        self._splitter = Splitter(self._limits.max_connect_packet)
        self._paused = False
        self._unanswered = 0
        #: Packet ids (0: QoS 0) whose acknowledgement waits for the lanes beside them, in the order they came.
        self._withheld: deque[tuple[int, list[Lane]]] = deque()
        self._refused = 0
        self._unwritten: list[bytes] = []
        self._unwritten_size = 0
        self._drained = asyncio.Event()
        self._drained.set()
        self._idle = self._limits.connect_timeout
        self._heard = self._loop.time()
        self._timer = self._loop.call_later(self._idle, self._check_idle)

    # --- The transport's calls --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if peer else ""
        self._guard.accept(self)

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        self._splitter.feed(data)
        if self._phase is Phase.NEW and self._splitter.kind != frames.CONNECT:
            self.cut("it does not begin with an MQTT CONNECT")
            return
        self._process()
        if self.transport.get_write_buffer_size() > self._limits.max_unread:
            self.cut("it does not read its answers")

    def pause_writing(self) -> None:
        self._drained.clear()

    def resume_writing(self) -> None:
        self._drained.set()
        if self._client is not None:
            self._client.lane.writable()

    def connection_lost(self, problem: Exception | None) -> None:
        self.closed = True
        self._timer.cancel()
        self._drained.set()
        self._withheld.clear()
        self.requests.put_nowait(b"")
        if self._client is not None:
            self._client.lane.detach(self)
        if self._phase is Phase.NEW:
            self._guard.left(self)

    # --- Frames -----------------------------------------------------------------------------------------------------

    @property
    def _blocked(self) -> bool:
        return (
            self._phase is Phase.LOGIN
            or len(self._withheld) >= self._limits.max_unacknowledged
            or self._unanswered >= self._limits.max_requests
        )

    def _process(self) -> None:
        try:
            for _ in range(AT_A_TIME):
                if self._blocked or self.closed or (frame := self._splitter.next()) is None:
                    break
                self._handle(frame)
            else:
                self._pause()
                self._loop.call_soon(self._resume)
        except FrameError as problem:
            self.cut(str(problem))
        if self._blocked:
            self._pause()

    def _pause(self) -> None:
        if not self._paused and not self.closed:
            self._paused = True
            self.transport.pause_reading()

    def _resume(self) -> None:
        """Go on reading, if nothing speaks against it."""
        if self._paused and not self._blocked and not self.closed:
            self._paused = False
            self._heard = self._loop.time()
            self.transport.resume_reading()
            self._process()

    def _handle(self, frame: Frame) -> None:
        if self._phase is Phase.LEAVING:
            return
        if self._phase is Phase.NEW:
            self._phase = Phase.LOGIN
            self._guard.begin(self, frame)
        elif frame.kind == frames.PUBLISH:
            self._publish(frame)
        elif frame.kind == frames.PUBACK:
            self._opened.lane.acknowledged(frames.read_puback(frame))
        elif frame.kind == frames.PINGREQ:
            self._write(frames.PINGRESP)
        elif frame.kind in (frames.SUBSCRIBE, frames.UNSUBSCRIBE):
            frames.check_request(frame, self._limits.max_filters)
            self._unanswered += 1
            self.requests.put_nowait(frame.encoded())
        elif frame.kind == frames.DISCONNECT:
            frames.check_request(frame, 0)
            self._phase = Phase.LEAVING
            self.requests.put_nowait(frame.encoded())
        else:
            raise FrameError(f"it sent a packet of type {frame.kind}, which a client does not send")

    @property
    def _opened(self) -> Client:
        if self._client is None:
            raise FrameError("it sent packets before it was let in")
        return self._client

    def _publish(self, frame: Frame) -> None:
        message = frames.read_publish(frame)
        identity = self._opened.identity
        congested: list[Lane] = []
        if may(identity, "publish", message.topic):
            congested = self._guard.broker.publish(identity, message)
        else:
            # It is acknowledged all the same: MQTT 3.1.1 knows no other answer, and a repeated one would not help.
            self._refused += 1
            if self._refused & (self._refused - 1) == 0:
                logger.warning("%s may not publish to %.80r (refused: %d)", identity.name, message.topic, self._refused)
        if congested or self._withheld:
            self._withheld.append((message.packet_id, congested))
            for lane in congested:
                lane.when_eased(self._acknowledge)
        elif message.packet_id:
            self._write(frames.puback(message.packet_id))

    def _acknowledge(self) -> None:
        """Send the acknowledgements that were withheld, up to the first whose lanes are still congested."""
        while self._withheld:
            packet_id, lanes = self._withheld[0]
            congested = [lane for lane in lanes if lane.congested]
            if congested:
                congested[0].when_eased(self._acknowledge)
                break
            self._withheld.popleft()
            if packet_id:
                self._write(frames.puback(packet_id))
        self._resume()

    # --- What the guard and amqtt call ------------------------------------------------------------------------------

    def admit(self, identity: Identity, client_id: str, keepalive: float) -> None:
        """The login was good. `keepalive` in seconds; after half as much again without a byte the client is cut off."""
        self.identity, self.client_id = identity, client_id
        self._idle = keepalive * 1.5

    def open(self, client: Client) -> None:
        """amqtt has let the client in."""
        if self.closed or self._phase is not Phase.LOGIN:
            return
        self._client = client
        self._phase = Phase.OPEN
        self._splitter.limit = self._limits.max_packet
        self._timer.cancel()
        self._timer = self._loop.call_later(self._idle, self._check_idle)
        client.lane.attach(self)
        self._resume()

    @property
    def writable(self) -> bool:
        return self._unwritten_size < COLLECTED and self._drained.is_set() and not self.closed

    def send(self, head: bytes, payload: bytes) -> None:
        if len(payload) < SMALL:
            self._write(head + payload)
        else:
            self.transport.writelines((self._collected() + head, payload))

    def _write(self, data: bytes) -> None:
        if not self._unwritten:
            self._loop.call_soon(self._write_out)
        self._unwritten.append(data)
        self._unwritten_size += len(data)

    def _write_out(self) -> None:
        data = self._collected()
        if data and not self.closed:
            self.transport.write(data)
            if self._client is not None:
                self._client.lane.writable()

    def _collected(self) -> bytes:
        data = b"".join(self._unwritten)
        self._unwritten.clear()
        self._unwritten_size = 0
        return data

    def answer(self, data: bytes) -> None:
        """A packet of amqtt's."""
        if self.closed:
            return
        self._write(data)
        if data[0] >> 4 in (frames.SUBACK, frames.UNSUBACK):
            self._unanswered -= 1
            self._loop.call_soon(self._resume)

    async def drained(self) -> None:
        await self._drained.wait()
        if self.closed:
            raise ConnectionResetError("the client has gone")

    def refuse(self, code: int) -> None:
        """Answer a CONNECT with an error, and close."""
        if not self.closed:
            self._write(frames.connack(code))
            self.close()

    def close(self) -> None:
        """End the connection after what is under way; one that does not take it is cut off."""
        if not self.closed:
            self._write_out()
            self.transport.close()
            self._timer.cancel()
            self._timer = self._loop.call_later(self._limits.connect_timeout, self.transport.abort)

    def abort(self) -> None:
        self.transport.abort()

    def cut(self, reason: str) -> None:
        """End the connection of a client that does what it must not."""
        if self.closed:
            return
        self.closed = True
        self.transport.abort()
        name = self.identity.name if self.identity else "a client without login"
        logger.info("%s at %s was disconnected: %s", name, self.address, reason)
        if self.identity is None:
            self._guard.failed(self)

    def _check_idle(self) -> None:
        now = self._loop.time()
        if self._paused and self._phase is Phase.OPEN:
            self._heard = now  # it is not read: nobody can say that it is silent
        left = self._heard + self._idle - now
        if self._phase in (Phase.NEW, Phase.LOGIN):
            self.cut(f"it was not logged in after {self._limits.connect_timeout:g} s")
        elif left <= 0:
            self.cut(f"nothing came for {self._idle:g} s")
        else:
            self._timer = self._loop.call_later(left, self._check_idle)
