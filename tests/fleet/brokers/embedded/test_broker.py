import amqtt
import pytest

from fleet.brokers.embedded.broker import BrokerError, EmbeddedBroker
from tests.fleet.brokers.conftest import SECRETS
from tests.fleet.brokers.peers import DOWN, UP, until
from tests.fleet.brokers.targets import table_of


def test_another_version_of_amqtt_is_refused_since_private_methods_are_overridden(monkeypatch):
    monkeypatch.setattr(amqtt, "__version__", "0.13.0")
    with pytest.raises(BrokerError, match=r"amqtt 0\.13\.0 is installed, but .* of 0\.12\.1"):
        EmbeddedBroker(table_of(SECRETS)).start()


def test_the_session_of_a_device_that_stays_away_is_forgotten_in_the_end(start, join):
    broker = start(session_expiry=1)
    device = join(broker, "dev001", clean=False)
    device.subscribe(f"{DOWN}/dev001/#")
    device.leave()
    join(broker, "server").publish(f"{DOWN}/dev001/command/c1", b"order")
    assert broker.queued_bytes == len(b"order")
    assert until(lambda: broker.queued_bytes == 0, 5)
    assert not join(broker, "dev001", clean=False).session_present


def test_overlapping_subscriptions_bring_a_message_once_and_unsubscribing_ends_them(start, join):
    broker = start()
    server, device = join(broker, "server"), join(broker, "dev001")
    device.subscribe(f"{DOWN}/dev001/#", f"{DOWN}/dev001/command/+", f"{DOWN}/dev001/desired")
    server.publish(f"{DOWN}/dev001/command/c1")
    device.unsubscribe(f"{DOWN}/dev001/#", f"{DOWN}/dev001/command/+")
    server.publish(f"{DOWN}/dev001/command/c2")
    server.publish(f"{DOWN}/dev001/desired", b"the end")
    assert device.saw(b"the end")
    assert device.topics() == [f"{DOWN}/dev001/command/c1", f"{DOWN}/dev001/desired"]


def test_a_will_that_is_retained_is_there_for_whoever_comes_later(start, join):
    broker = start()
    join(broker, "dev001", clean=False, will=(f"{UP}/dev001/state", b"offline")).cut()
    server = join(broker, "server")
    assert until(lambda: (server.subscribe(f"{UP}/#"), server.got)[1])
    assert server.got[0] == (f"{UP}/dev001/state", b"offline", True)
