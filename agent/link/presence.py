"""The reported state: built in one place, numbered so that a late one never passes for the newest."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from agent import __version__
from agent.link.connection import Connection, Message
from agent.wire import codec, topics
from agent.wire.hardware import DeviceClass, Hardware
from agent.wire.messages import Active, Restraint, Runtime, State

#: Sequence numbers of one connection. Its last will has the highest, so the will passes every state of its own
#: connection, and the first state of the next connection passes the will.
_SEQ_PER_CONNECTION = 1_000_000


@dataclass(frozen=True, slots=True)
class Facts:
    """What the reported state says, apart from when."""

    device_class: DeviceClass
    hardware: Hardware
    active: Active | None = None
    runtime: Runtime | None = None
    config_version: int = 0
    mode: Literal["full", "slim", "hybrid"] = "full"
    idle: bool = True
    restraints: tuple[Restraint, ...] = ()


class Presence:
    """Tells the server that the device is there, and what it is."""

    def __init__(self, device_id: str, boot_id: str, facts: Facts, clock: Callable[[], float] = time.time) -> None:
        self._topic = topics.up(device_id, "state")
        self._boot_id = boot_id
        self._facts = facts
        self._clock = clock
        self._connection_number = 0
        self._seq = 0
        self._lock = threading.Lock()
        self.connection: Connection | None = None

    @property
    def facts(self) -> Facts:
        return self._facts

    def will(self) -> Message:
        """The last will of the connection attempt that begins now."""
        with self._lock:
            self._connection_number += 1
            self._seq = self._connection_number * _SEQ_PER_CONNECTION
            return self._absent(self._seq + _SEQ_PER_CONNECTION - 1)

    def farewell(self) -> Message:
        """Said before leaving in good order; the will is not sent then."""
        with self._lock:
            self._seq += 1
            return self._absent(self._seq)

    def announce(self) -> None:
        """Send the state as it is now. Without a link this does nothing: connecting announces."""
        if self.connection is None:
            return
        with self._lock:  # held while sending, so that the numbers go out in order
            self._seq += 1
            body = codec.encode(self._present(self._seq))
            self.connection.publish(self._topic, body, retain=True)

    def change(self, **changes: Any) -> None:
        """Change fields of Facts, and announce the state if that made a difference."""
        with self._lock:
            before, self._facts = self._facts, replace(self._facts, **changes)
        if self._facts != before:
            self.announce()

    def _present(self, seq: int) -> State:
        facts = self._facts
        return State(
            online=True,
            boot_id=self._boot_id,
            seq=seq,
            at=self._clock(),
            agent_version=__version__,
            device_class=facts.device_class,
            hardware=facts.hardware,
            active=facts.active,
            runtime=facts.runtime,
            config_version=facts.config_version,
            mode=facts.mode,
            idle=facts.idle,
            restraints=facts.restraints,
        )

    def _absent(self, seq: int) -> Message:
        body = codec.encode(State(online=False, boot_id=self._boot_id, seq=seq, at=self._clock()))
        return Message(self._topic, body, retain=True)
