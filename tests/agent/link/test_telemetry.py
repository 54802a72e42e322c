"""Samples on their way: at their interval, in order, none lost over a broken link."""

import time

import msgspec
import pytest

from agent.addresses import Server
from agent.link import telemetry as telemetry_module
from agent.link.connection import Connection, Credentials
from agent.link.history import History
from agent.link.offline_queue import BATCH, OfflineQueue
from agent.link.telemetry import Telemetry, TelemetryThread
from agent.wire.messages import Sample
from tests.agent.waiting import wait_for


class Counting:
    """A sampler that numbers its samples."""

    def __init__(self) -> None:
        self.taken = 0

    def sample(self, queued: int) -> Sample:
        self.taken += 1
        return Sample(seq=self.taken, at=1.0, queued=queued)


@pytest.fixture
def telemetry(broker, tmp_path):
    connection = Connection(
        Server("127.0.0.1", broker.port), Credentials("d-1", "d-1", "x"), on_message=lambda *_: None
    )
    sampler = Counting()
    made = Telemetry(
        device_id="d-1",
        boot_id="b-1",
        sampler=sampler,
        queue=History(OfflineQueue(tmp_path / "telemetry.db")),
        connection=connection,
        interval=0.02,
    )
    thread = TelemetryThread(made)
    connection.start()
    thread.start()
    yield made, connection, sampler
    thread.stop()
    connection.stop()
    thread.join(5)
    assert not thread.is_alive()


def numbers(server) -> list[int]:
    return [sample.seq for message in server.telemetry for sample in message.samples]


def test_samples_arrive_in_order(telemetry, server):
    wait_for("ten samples", lambda: len(numbers(server)) >= 10)
    came = numbers(server)

    assert came == list(range(1, len(came) + 1))


def test_a_lost_link_loses_no_sample(telemetry, server, broker, server_comes_first):
    _, connection, sampler = telemetry
    wait_for("some samples", lambda: len(numbers(server)) >= 3)
    broker.stop()
    wait_for("the loss", lambda: not connection.connected)
    before = sampler.taken
    wait_for("samples taken without a link", lambda: sampler.taken > before + 20)
    broker.start()
    server.wait_until_subscribed()

    wait_for("all that were taken", lambda: set(range(1, before + 20)) <= set(numbers(server)))


def test_another_interval_counts_at_once(telemetry, server):
    made, _, sampler = telemetry
    wait_for("some samples", lambda: len(numbers(server)) >= 3)
    made.set_interval(3600)
    wait_for("the rest", lambda: len(numbers(server)) == sampler.taken)
    taken = sampler.taken
    made.set_interval(0.02)

    wait_for("more", lambda: sampler.taken > taken + 2)


def test_a_backlog_comes_in_turns_and_not_as_a_storm(broker, server, tmp_path, monkeypatch):
    """Full messages keep their distance, so that a fleet that comes back does not send everything at once."""
    monkeypatch.setattr(telemetry_module, "PACE_SECONDS", 0.4)
    queue = OfflineQueue(tmp_path / "telemetry.db")
    with queue._transaction():  # one sync, not a thousand
        for number in range(1, 4 * BATCH + 11):
            body = msgspec.json.encode(Sample(seq=number, at=float(number)))
            queue._database.execute("INSERT INTO samples (boot_id, body) VALUES ('b-1', ?)", (body,))
    queue._count = queue._counted()
    connection = Connection(
        Server("127.0.0.1", broker.port), Credentials("d-1", "d-1", "x"), on_message=lambda *_: None
    )
    made = Telemetry(
        device_id="d-1", boot_id="b-1", sampler=Counting(), queue=queue, connection=connection, interval=3600
    )
    thread = TelemetryThread(made)
    connection.start()
    thread.start()
    wait_for("the link", lambda: connection.connected)
    began = time.monotonic()
    made.wake()
    wait_for("all of it", lambda: len(numbers(server)) == 4 * BATCH + 10)
    seconds = time.monotonic() - began
    thread.stop()
    connection.stop()

    assert numbers(server) == list(range(1, 4 * BATCH + 11))
    assert [sample.at for message in server.telemetry for sample in message.samples] == list(
        map(float, numbers(server))
    )
    assert seconds > 4 * 0.2


def test_it_sleeps_until_there_is_a_link_and_then_sends_at_once(broker, server, tmp_path):
    sampler, queue = Counting(), OfflineQueue(tmp_path / "telemetry.db")
    queue.put("b-1", sampler.sample(0))
    connection = Connection(
        Server("127.0.0.1", broker.port), Credentials("d-1", "d-1", "x"), on_message=lambda *_: None
    )
    made = Telemetry(device_id="d-1", boot_id="b-1", sampler=sampler, queue=queue, connection=connection, interval=3600)
    thread = TelemetryThread(made)
    thread.start()
    connection._on_connected = made.wake
    connection.start()
    wait_for("the sample", lambda: numbers(server) == [1], 5)
    thread.stop()
    connection.stop()
