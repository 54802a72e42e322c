"""What amqtt asks during a connection's life, answered by the one rule of who may read and write which topic."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from amqtt.contexts import Action
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from agent.wire.access import Identity, may
from fleet.brokers.embedded.lanes import Lane

if TYPE_CHECKING:
    from fleet.brokers.embedded.guard import Guard

#: Where a session keeps its Client. Never trust `session.username`: amqtt writes it from unauthenticated packets.
CLIENT = "edgefleet.client"


@dataclass(slots=True)
class Client:
    """What the broker keeps of a client for as long as its session lasts."""

    identity: Identity
    lane: Lane
    filters: set[str] = field(default_factory=set)


def client_of(session: Session | None) -> Client | None:
    return session.attributes.get(CLIENT) if session else None


class FleetAccess(BaseAuthPlugin, BaseTopicPlugin):
    """Registered in amqtt's configuration by its dotted name."""

    @dataclass
    class Config:
        #: The Guard; amqtt passes an object through only where the annotation is Any.
        guard: Any = None

    @property
    def _guard(self) -> "Guard":
        return self.config.guard

    async def authenticate(self, *, session: Session) -> bool:
        """The guard has checked the login; this gives its answer to amqtt's session."""
        session.password = None
        return self._guard.admitted(session)

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool:
        client = client_of(session)
        return client is not None and action is not None and may(client.identity, action.value, topic or "")

    async def on_broker_client_connected(self, *, client_id: str, client_session: Session) -> None:
        """amqtt has sent its answer: messages may flow."""
        self._guard.opened(client_id, client_session)
