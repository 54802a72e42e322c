"""Gateways as processes, on real brokers: killed at the worst moment, two at once, a database that is away."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection, transaction

from agent.wire import codec, topics
from agent.wire.messages import Sample, Telemetry
from fleet.brokers.mosquitto.configuration import plugin
from fleet.gateway.lease import leader
from fleet.telemetry.models import DeviceMinute
from fleet.telemetry.models import Sample as Stored
from tests.conftest import make_device
from tests.fleet.dashboard.server import same_database
from tests.journeys.peer import Peer
from tests.ports import free_port

pytestmark = pytest.mark.django_db(transaction=True)

BROKERS = ["embedded", pytest.param("mosquitto", marks=pytest.mark.skipif(not plugin(), reason="no mosquitto here"))]


class Processes:
    """A broker and any number of gateways over the tests' database."""

    def __init__(self, folder: Path, broker: str) -> None:
        self.folder, self.port = folder, free_port()
        self._environment = {
            **os.environ,
            **same_database(),
            "MQTT_BROKER": broker,
            "MQTT_URL": f"mqtt://127.0.0.1:{self.port}",
            "EDGEFLEET_LOG": "DEBUG",
            "EDGEFLEET_LEASE_SECONDS": "3",
        }
        self.running: dict[str, subprocess.Popen] = {}

    def start(self, name: str, command: str = "gateway") -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            words = [sys.executable, "manage.py", command]
            self.running[name] = subprocess.Popen(
                words, cwd=settings.BASE_DIR, env=self._environment, stdout=log, stderr=log
            )

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def wait(self, what: str, condition: Callable[[], object], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not condition():
            tails = "\n".join(f"--- {name}\n{self.log(name)[-2000:]}" for name in self.running)
            assert time.monotonic() < end, f"waited {seconds} s for {what}\n{tails}"
            time.sleep(0.05)

    def leads(self, name: str) -> bool:
        return leader().split(":")[1:2] == [str(self.running[name].pid)]

    def end(self, name: str, how: int = signal.SIGKILL) -> None:
        process = self.running.pop(name)
        process.send_signal(how)
        process.wait(20)


@pytest.fixture(params=BROKERS)
def processes(request, tmp_path) -> Iterator[Processes]:
    made = Processes(tmp_path, request.param)
    yield made
    for name in list(made.running):
        made.end(name)


@pytest.fixture
def device():
    """Known to the broker from its start, with a second one."""
    make_device(id="dev002")
    return make_device(id="dev001")


@pytest.fixture
def peer(processes, device) -> Iterator[Peer]:
    """The device's own connection, once the broker is there and has a session for what comes up."""
    processes.start("broker", "broker")
    processes.wait("the broker", lambda: "listening" in processes.log("broker"))
    processes.start("a")
    processes.wait("the gateway", lambda: "inbox is connected" in processes.log("a"))
    with Peer(processes.port, device.pk, f"secret-of-{device.pk}".ljust(32, "_"), device.pk) as made:
        yield made


def send(peer: Peer, device, numbers: range) -> None:
    for number in numbers:
        sample = Sample(seq=number, at=time.time(), decisions=1, latency={70: 1})
        peer.publish(topics.up(device.pk, "telemetry"), codec.encode(Telemetry(boot_id="boot-1", samples=(sample,))))


def summed(column: str) -> int:
    return sum(DeviceMinute.objects.values_list(column, flat=True))


@contextmanager
def nobody_can_write() -> Iterator[None]:
    """Holds what every batch needs, so that a gateway comes as far as the database and no further."""
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("LOCK TABLE telemetry_sample IN ACCESS EXCLUSIVE MODE")
        else:
            cursor.execute("DELETE FROM telemetry_sample WHERE 1 = 0")
        yield


def test_a_gateway_killed_between_receiving_and_committing_loses_nothing(processes, peer, device):
    with nobody_can_write():
        send(peer, device, range(300))
        peer.drain()
        processes.wait("a batch to be under way", lambda: "fleet.gateway.inbox: storing" in processes.log("a"))
        processes.end("a")
    assert not Stored.objects.exists()
    processes.start("b")
    processes.wait("every sample", lambda: Stored.objects.count() == 300)
    send(peer, device, range(300))  # a device that did not hear that they had arrived
    send(peer, device, range(300, 310))
    processes.wait("the rest", lambda: Stored.objects.filter(seq=309).exists())
    assert Stored.objects.count() == 310
    processes.wait("their sum", lambda: summed("decisions") == 310)


def test_of_two_gateways_one_leads_and_the_other_takes_over(processes, peer, device):
    processes.start("b")
    processes.wait("the second to stand by", lambda: "standing by" in processes.log("b"))
    assert processes.leads("a")
    sender = threading.Thread(
        target=lambda: [(send(peer, device, range(n, n + 20)), time.sleep(0.05)) for n in range(0, 2000, 20)]
    )
    sender.start()
    processes.wait("the first samples", lambda: Stored.objects.count() > 100)
    processes.end("a")
    died = time.monotonic()
    processes.wait("the second to lead", lambda: processes.leads("b"), 10)
    assert time.monotonic() - died < 6, "the lease is 3 s"
    sender.join()
    processes.wait("every sample", lambda: Stored.objects.count() == 2000)
    processes.wait("their sum", lambda: summed("samples") == 2000)

    processes.start("c")
    processes.wait("the third to stand by", lambda: "standing by" in processes.log("c"))
    processes.end("b", signal.SIGTERM)
    processes.wait("the third to lead at once", lambda: processes.leads("c"), 3)
    send(peer, device, range(2000, 2010))
    processes.wait("its samples", lambda: Stored.objects.count() == 2010)
    for name in ("a", "b", "c"):
        assert "lost the broker" not in processes.log(name), "nobody throws another one out"


def test_a_gateway_that_stood_still_for_too_long_finds_another_one_leading(processes, peer, device):
    processes.start("b")
    processes.wait("the second to stand by", lambda: "standing by" in processes.log("b"))
    processes.running["a"].send_signal(signal.SIGSTOP)
    processes.wait("the second to lead", lambda: processes.leads("b"), 10)
    processes.running["a"].send_signal(signal.SIGCONT)
    processes.wait("the first to step back", lambda: "the lease was lost" in processes.log("a"), 10)
    send(peer, device, range(200))
    processes.wait("every sample", lambda: Stored.objects.count() == 200)
    assert processes.leads("b")


def test_poison_of_every_kind_stops_nobody(processes, peer, device):
    """Also what is larger than the broker lets through: that ends the connection of who sent it, and nothing else."""
    topic = topics.up(device.pk, "telemetry")
    for body in (
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"boot_id":"b","samples":[{"seq":1,"at":NaN}]}',
        b" " * 256 * 1024,
    ):
        peer.publish(topic, body)
    peer.drain()
    with Peer(processes.port, "dev002", "secret-of-dev002".ljust(32, "_"), "dev002") as hostile:
        hostile.publish(topics.up("dev002", "telemetry"), b"x" * 64 * 1024**2)
    send(peer, device, range(10))
    processes.wait("every sample", lambda: Stored.objects.count() == 10)


def test_a_message_without_an_acknowledgement_is_taken_like_any_other(processes, peer, device):
    """Of QoS 0: it has no number, and to acknowledge none would end the gateway's connection."""
    for number in range(20):
        sample = Sample(seq=number, at=time.time())
        body = codec.encode(Telemetry(boot_id="boot-1", samples=(sample,)))
        peer.publish(topics.up(device.pk, "telemetry"), body, qos=number % 2)
    processes.wait("every sample", lambda: Stored.objects.count() == 20)
    assert "lost the broker" not in processes.log("a")


def test_a_database_that_is_away_is_waited_for(processes, peer, device):
    """Longer than a statement waits for it, so that the gateway meets the error."""
    if connection.vendor != "sqlite":
        pytest.skip("here the database is a file that can be put away")
    path = Path(connection.settings_dict["NAME"])
    connection.close()
    away = path.with_suffix(".away")
    path.rename(away)
    path.mkdir()
    try:
        send(peer, device, range(50))
        peer.drain()
        processes.wait("the error", lambda: "the database is away" in processes.log("a"))
    finally:
        path.rmdir()
        away.rename(path)
    processes.wait("every sample", lambda: Stored.objects.count() == 50)
