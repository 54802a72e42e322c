"""`manage.py broker` as the process that an operator or a supervisor starts."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import psutil
import pytest
from django.conf import settings
from django.db import connection

from agent.wire.topics import GATEWAY_FILTERS
from tests.conftest import make_device
from tests.fleet.brokers.embedded.test_queues import SlowReader, push_blocks
from tests.fleet.brokers.peers import CAST, DOWN, UP, Peer

pytestmark = pytest.mark.django_db(transaction=True)

MIB = 1024 * 1024
SECRET = "the server's secret, long enough"


class Process:
    """The command on the test's database."""

    def __init__(self, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "broker"],
            cwd=settings.BASE_DIR,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "fleet.settings",
                "DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}",
                "EDGEFLEET_MQTT_SECRET": SECRET,
                "MQTT_URL": "mqtt://127.0.0.1:0",
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.line = ""
        self.port = 0

    def wait_until_ready(self) -> "Process":
        assert self.process.stdout
        self.line = self.process.stdout.readline().rstrip("\n")
        found = re.fullmatch(r"broker: listening on 127\.0\.0\.1:(\d+), \d+ identities", self.line)
        assert found, f"it said {self.line!r}, and {self.end()[1]!r}"
        self.port = int(found[1])
        return self

    def end(self) -> tuple[int, str]:
        """Exit status and what went to standard error."""
        _, error = self.process.communicate(timeout=10)
        return self.process.returncode, error


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(**environment: str) -> Process:
        started.append(Process(**environment))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()


def test_it_says_where_it_listens_and_whom_it_knows_and_stops_when_told(start):
    make_device(id="dev001")
    broker = start().wait_until_ready()
    assert broker.line.endswith(", 2 identities")
    with Peer(broker.port, "dev001", "secret-of-dev001".ljust(32, "_")) as device:
        assert device.let_in
        began = time.monotonic()
        broker.process.send_signal(signal.SIGTERM)
        status, error = broker.end()
        assert time.monotonic() - began < 2
        assert (status, error) == (0, "")
        assert device.gone.wait(1)


def test_what_devices_say_before_the_gateway_is_there_waits_for_it(start):
    make_device(id="dev001")
    broker = start().wait_until_ready()
    with Peer(broker.port, "dev001", "secret-of-dev001".ljust(32, "_")) as device:
        assert device.publish(f"{UP}/dev001/telemetry", b"early")
    # As fleet.gateway connects: it subscribes after it has connected, whatever is waiting.
    with Peer(broker.port, "server", SECRET, client_id="server-inbox", clean=False) as gateway:
        assert gateway.session_present
        assert gateway.saw(b"early")
        assert gateway.subscribe(*GATEWAY_FILTERS) == [1, 1]
    assert [payload for _, payload, _ in gateway.got] == [b"early"]


def test_it_stops_when_told_even_while_a_client_does_not_read(start):
    make_device(id="dev001")
    broker = start().wait_until_ready()
    server = Peer(broker.port, "server", SECRET)
    with closing(SlowReader(broker.port, f"{DOWN}/dev001/#")):
        server.client.publish(f"{DOWN}/dev001/block/abc/0", bytes(128 * 1024), 1)
        for number in range(100):
            server.client.publish(f"{DOWN}/dev001/command/c{number}", bytes(100_000), 1)
        began = time.monotonic()
        broker.process.send_signal(signal.SIGTERM)
        assert broker.end()[0] == 0
        assert time.monotonic() - began < 2
    server.leave()


@pytest.mark.parametrize("over", ["the same port", "TLS without a key", "no database"])
def test_it_says_in_a_sentence_why_it_cannot_start(start, certificates, tmp_path, over):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        environment, sentence = {
            "the same port": (
                {"MQTT_URL": f"mqtt://127.0.0.1:{port}"},
                f"Port {port} of 127.0.0.1 is taken by another process. Stop that one, or choose another in MQTT_URL.",
            ),
            "TLS without a key": (
                {"MQTT_TLS_CERTIFICATE": str(certificates.certificate), "MQTT_TLS_KEY": str(tmp_path / "none.key")},
                "TLS cannot be used with MQTT_TLS_CERTIFICATE=",
            ),
            "no database": (
                {"DATABASE_URL": f"sqlite:///{tmp_path / 'empty.db'}"},
                "Is the database there, and are its migrations applied (manage.py migrate)?",
            ),
        }[over]
        status, error = start(**environment).end()
    assert status == 1
    assert sentence in error
    assert "Traceback" not in error


def test_it_speaks_tls_when_told_to(start, certificates):
    make_device(id="dev001")
    broker = start(
        MQTT_TLS_CERTIFICATE=str(certificates.certificate), MQTT_TLS_KEY=str(certificates.key)
    ).wait_until_ready()
    with Peer(broker.port, "dev001", "secret-of-dev001".ljust(32, "_"), ca=str(certificates.ca)) as device:
        assert device.let_in


def test_its_memory_stays_bounded_while_devices_are_absent_and_stalled(start):
    for name in ("dev001", "dev002"):
        make_device(id=name)
    broker = start().wait_until_ready()
    server = Peer(broker.port, "server", SECRET)
    with Peer(broker.port, "dev002", "secret-of-dev002".ljust(32, "_"), clean=False) as absent:
        absent.subscribe(f"{DOWN}/dev002/#", f"{CAST}/#")
    memory = psutil.Process(broker.process.pid).memory_info
    before = memory().rss
    with closing(SlowReader(broker.port, f"{DOWN}/dev001/#", f"{CAST}/#")):
        for topic in (f"{DOWN}/dev001/block/abc", f"{DOWN}/dev002/block/abc", f"{CAST}/block/abc"):
            push_blocks(server, 500, topic)  # 62 MiB each
        assert memory().rss - before < 30 * MIB
    server.leave()
