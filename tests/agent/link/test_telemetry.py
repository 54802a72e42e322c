"""Samples on their way: at their interval, in order, none lost over a broken link."""

import pytest

from agent.config import Server
from agent.link.connection import Connection, Credentials
from agent.link.offline_queue import OfflineQueue
from agent.link.telemetry import TelemetryThread
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
    thread = TelemetryThread(
        device_id="d-1",
        boot_id="b-1",
        sampler=sampler,
        queue=OfflineQueue(tmp_path / "telemetry.db"),
        connection=connection,
        interval=0.02,
    )
    connection.start()
    thread.start()
    yield thread, connection, sampler
    thread.stop()
    connection.stop()
    thread.join(5)
    assert not thread.is_alive()


def numbers(server) -> list[int]:
    return [sample.seq for message in server.telemetry for sample in message.samples]


def test_samples_arrive_in_order(telemetry, server):
    wait_for("ten samples", lambda: len(numbers(server)) >= 10)

    assert numbers(server) == list(range(1, len(numbers(server)) + 1))


def test_a_lost_link_loses_no_sample(telemetry, server, broker):
    _, connection, sampler = telemetry
    wait_for("some samples", lambda: len(numbers(server)) >= 3)
    broker.stop()
    wait_for("the loss", lambda: not connection.connected)
    before = sampler.taken
    wait_for("samples taken without a link", lambda: sampler.taken > before + 20)
    broker.start()

    wait_for("all that were taken", lambda: set(range(1, before + 20)) <= set(numbers(server)))


def test_another_interval_counts_at_once(telemetry, server):
    thread, _, sampler = telemetry
    wait_for("some samples", lambda: len(numbers(server)) >= 3)
    thread.set_interval(3600)
    wait_for("the rest", lambda: len(numbers(server)) == sampler.taken)
    taken = sampler.taken
    thread.set_interval(0.02)

    wait_for("more", lambda: sampler.taken > taken + 2)
