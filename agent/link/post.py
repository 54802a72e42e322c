"""What the link brings, handed to the part that it is for."""

import logging
from typing import Protocol

from agent.deployment.delivery import Delivery
from agent.link.commands import CommandDesk
from agent.link.presence import Presence
from agent.link.telemetry import Telemetry
from agent.wire import codec, topics
from agent.wire.messages import Desired, Links

log = logging.getLogger(__name__)


class Updates(Protocol):
    """The update machine, as the link knows it."""

    def offer(self, desired: Desired) -> None: ...

    def reconnected(self) -> None: ...


class Post:
    """Called by the network thread."""

    def __init__(
        self,
        presence: Presence,
        delivery: Delivery,
        updates: Updates,
        commands: CommandDesk,
        telemetry: Telemetry,
    ) -> None:
        self._presence = presence
        self._delivery = delivery
        self._updates = updates
        self._commands = commands
        self._telemetry = telemetry

    def connected(self) -> None:
        """The link is up again: say what may have been lost with it."""
        self._presence.announce()
        self._delivery.connected()
        self._updates.reconnected()
        self._commands.resend()
        self._telemetry.wake()

    def take(self, text: str, body: bytes) -> None:
        try:
            topic = topics.parse(text)
            match topic.direction, topic.kind:
                case "down", "desired":
                    if body:  # empty: the server has cleared the retained message
                        self._updates.offer(codec.decode(body, Desired))
                case "down", "command":
                    self._commands.receive(topic.key, body)
                case "down", "links":
                    self._delivery.links(codec.decode(body, Links))
                case "down" | "cast", "block":
                    self._delivery.block(topic.key, topic.number or 0, body, cast=topic.direction == "cast")
                case "cast", "manifest" | "tuf":
                    self._delivery.retained(text, body)
        except (topics.TopicError, codec.WireError) as problem:
            log.warning("a message on %s was not taken: %s", text[:200], problem)
