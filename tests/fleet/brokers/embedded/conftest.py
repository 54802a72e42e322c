"""An embedded broker of a test's own, with limits of its own."""

import itertools
from collections.abc import Callable, Iterator

import pytest

from fleet.brokers.embedded.broker import EmbeddedBroker
from fleet.brokers.embedded.limits import Limits
from tests.fleet.brokers.conftest import SECRETS
from tests.fleet.brokers.peers import Peer
from tests.fleet.brokers.targets import table_of


@pytest.fixture
def start() -> Iterator[Callable[..., EmbeddedBroker]]:
    """`start(connect_timeout=0.3)`: a broker with these limits, stopped when the test ends."""
    started: list[EmbeddedBroker] = []

    def start(**limits) -> EmbeddedBroker:
        started.append(EmbeddedBroker(table_of(SECRETS), limits=Limits(**limits)).start())
        return started[-1]

    yield start
    for broker in started:
        broker.stop()


@pytest.fixture
def join() -> Iterator[Callable[..., Peer]]:
    """Connect to a broker as somebody. Everybody leaves when the test ends."""
    joined: list[Peer] = []
    numbers = itertools.count(1)

    def connect(broker: EmbeddedBroker, name: str, **options) -> Peer:
        if name.startswith("enroll-"):
            options.setdefault("client_id", f"enroll-nonce{next(numbers)}")
        joined.append(Peer(broker.port, name, SECRETS[name], **options))
        return joined[-1]

    yield connect
    for peer in joined:
        peer.leave()
