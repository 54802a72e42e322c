"""mosquitto's logins follow the database: what an operator or a device does is what a device sees, live."""

import asyncio
import functools
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from django.conf import settings as django_settings
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from agent.wire import codec, topics
from agent.wire.access import enroll_login
from agent.wire.hardware import GIB, Hardware
from agent.wire.messages import EnrollReply, EnrollRequest
from agent.wire.states import Admission
from fleet.brokers.follower import Follower, Pace, read_all
from fleet.brokers.mosquitto import broker as mosquitto
from fleet.brokers.mosquitto import configuration, dynsec
from fleet.brokers.mosquitto.broker import MosquittoBroker
from fleet.brokers.mosquitto.configuration import Place
from fleet.brokers.mosquitto.logins import Logins
from fleet.devices import enrollment, services
from fleet.devices.credentials import token_secret
from fleet.devices.models import Device
from fleet.gateway.models import Outbox
from tests.conftest import make_device
from tests.fleet.brokers.peers import DOWN, Peer, until
from tests.ports import free_port

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        configuration.program() is None or configuration.plugin() is None,
        reason="mosquitto is not installed: install it (Debian: apt install mosquitto) to try the fleet on it",
    ),
]

SERVER_SECRET = "the server's secret, long enough"
BOARD = Hardware(cores=4, memory_bytes=4 * GIB, storage_bytes=32 * GIB)


def secret_of(device: Device) -> str:
    return f"secret-of-{device.id}".ljust(32, "_")


class Running:
    """mosquitto as `manage.py broker` runs it, on the test's database."""

    def __init__(self, place: Place, pace: Pace, own: bool = True) -> None:
        self.place = place
        self.logins = Logins(functools.partial(token_secret, django_settings.SECRET_KEY))
        self._broker = MosquittoBroker(self.logins, Follower(self.logins, pace), SERVER_SECRET, place if own else None)
        self.problem: BaseException | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(20)
        assert self.problem is None

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self._broker.serve(self._ready.set)

        try:
            asyncio.run(serve())
        except BaseException as problem:
            self.problem = problem
        finally:
            self._ready.set()

    @property
    def process(self) -> psutil.Process:
        return next(child for child in psutil.Process().children() if str(self.place.conf) in " ".join(child.cmdline()))

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._broker.stop)
        self._thread.join(40)  # a client that lost the broker sleeps out its pause, 15 s at most
        assert not self._thread.is_alive()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """`start(poll=3600)`: with this pace."""
    place = Place(tmp_path, "127.0.0.1", free_port())
    started: list[Running] = []
    with override_settings(
        MQTT_HOST="127.0.0.1", MQTT_PORT=place.port, MQTT_TLS=False, MQTT_SERVER_SECRET=SERVER_SECRET
    ):

        def start(*, own: bool = True, **pace) -> Running:
            started.append(Running(place, Pace(**pace), own))
            return started[-1]

        start.place = place
        yield start
        for each in started:
            each.stop()
            assert each.problem is None


@contextmanager
def standing_alone(place: Place, state: dynsec.Document) -> Iterator[subprocess.Popen]:
    """A mosquitto that nobody of ours started."""
    configuration.write_state(place.state, state)
    place.conf.write_text(configuration.text(place, configuration.plugin()))
    with subprocess.Popen([configuration.program(), "-c", place.conf]) as process:
        assert until(lambda: mosquitto._listens(place), 10)
        yield process
        process.kill()


@pytest.fixture
def join(start) -> Iterator[Callable[..., Peer]]:
    joined: list[Peer] = []

    def connect(broker: Running, name: str, secret: str, **options) -> Peer:
        joined.append(Peer(broker.place.port, name, secret, **options))
        return joined[-1]

    yield connect
    for peer in joined:
        peer.leave()


def gets_in(join, broker: Running, name: str, secret: str) -> bool:
    peer = join(broker, name, secret)
    peer.leave()
    return peer.let_in


def enroll(join, broker: Running, text: str, nonce: str, secret: str) -> str:
    """What a device and the gateway do, over the broker; returns the device's id."""
    token_id, _, token_text = text.partition(".")
    request = EnrollRequest(token=text, secret=secret, name=nonce, hardware=BOARD, agent_version="1")
    assert until(lambda: gets_in(join, broker, enroll_login(token_id, 3), token_text))
    device = join(broker, enroll_login(token_id, 3), token_text)
    device.subscribe(topics.enroll_reply(nonce))
    assert device.publish(topics.enroll_request(nonce), codec.encode(request))
    with transaction.atomic():
        enrollment.handle(nonce, request, timezone.now())
    message = Outbox.objects.get(topic=topics.enroll_reply(nonce))
    join(broker, "server", SERVER_SECRET, client_id="server-outbox").publish(message.topic, bytes(message.payload))
    assert until(lambda: device.got)
    return codec.decode(device.got[0][1], EnrollReply).device_id


def test_who_was_there_at_the_start_gets_in_by_the_stored_hash(start, join):
    device, pending = make_device(), make_device(admission=Admission.PENDING)
    broker = start(poll=3600)
    assert join(broker, device.id, secret_of(device)).let_in
    assert not join(broker, device.id, "wrong").let_in
    assert not join(broker, pending.id, secret_of(pending)).let_in
    state = broker.place.state
    assert state.stat().st_mode & 0o777 == 0o600


def test_a_device_enrolls_and_logs_in_while_the_broker_runs(start, join):
    broker = start(poll=0.1)
    before = broker.process.pid
    _, text = services.create_token("boards", None, max_uses=2, auto_accept=True)
    secret = "made-by-the-device".ljust(43, "_")
    name = enroll(join, broker, text, "n-1", secret)
    assert until(lambda: gets_in(join, broker, name, secret))
    assert not gets_in(join, broker, name, "another".ljust(43, "_"))
    assert broker.process.pid == before, "nobody else was disconnected for it"


def test_a_device_that_waits_for_a_person_gets_in_once_it_is_accepted(start, join):
    broker = start(poll=0.1)
    _, text = services.create_token("boards", None)
    secret = "made-by-the-device".ljust(43, "_")
    name = enroll(join, broker, text, "n-2", secret)
    assert until(lambda: name in broker.logins._there)
    assert not gets_in(join, broker, name, secret)
    services.accept([Device.objects.get(pk=name)], None)
    assert until(lambda: gets_in(join, broker, name, secret))


def test_a_retired_device_is_thrown_out_within_a_second_and_stays_out(start, join):
    device = make_device()
    broker = start(poll=0.1)
    peer = join(broker, device.id, secret_of(device))
    assert peer.up
    services.retire(device, None)
    assert peer.gone.wait(2)
    assert not gets_in(join, broker, device.id, secret_of(device))


def test_a_revoked_token_lets_nobody_in(start, join):
    token, text = services.create_token("boards", None)
    broker = start(poll=0.1)
    login = (enroll_login(token.id, 31), text.partition(".")[2])
    assert gets_in(join, broker, *login)
    services.revoke_token(token, None)
    assert until(lambda: not gets_in(join, broker, *login))


def test_a_broker_that_was_killed_comes_back_with_every_login(start, join):
    device, retired = make_device(), make_device()
    broker = start(poll=0.1)
    before = broker.process.pid
    services.retire(retired, None)
    broker.place.state.unlink()  # its state is lost, too
    os.kill(before, signal.SIGKILL)
    assert until(lambda: gets_in(join, broker, device.id, secret_of(device)), 15)
    assert broker.process.pid != before
    assert not gets_in(join, broker, retired.id, secret_of(retired))


def test_a_login_whose_secret_nobody_heard_gets_in_by_a_restart(start, join, monkeypatch):
    monkeypatch.setattr(mosquitto, "PATIENCE", 0.5)
    broker = start(poll=0.1)
    device = make_device()  # in the database, but no request was heard
    assert until(lambda: device.id in broker.logins.waiting or device.id in broker.logins._there)
    assert until(lambda: gets_in(join, broker, device.id, secret_of(device)), 15)


def test_a_broker_that_runs_elsewhere_is_told_what_it_lacks_and_told_again_when_it_forgot(start, join):
    """One that was given a state file (`manage.py broker --state FILE`); the keeper compares after each connect."""
    device = make_device()
    place = Place(start.place.folder, start.place.host, start.place.port)
    first = dynsec.state(read_all(), SERVER_SECRET)
    with standing_alone(place, first) as started:
        keeper = start(own=False, poll=0.1)
        token, text = services.create_token("boards", None)
        login = (enroll_login(token.id, 0), text.partition(".")[2])
        assert until(lambda: gets_in(join, keeper, *login))
        assert gets_in(join, keeper, device.id, secret_of(device))
        services.retire(device, None)
        assert until(lambda: not gets_in(join, keeper, device.id, secret_of(device)))
        started.kill()
        started.wait()
        with standing_alone(place, first):
            # It came back as it was at first: without the token, and with the retired device.
            assert until(lambda: gets_in(join, keeper, *login), 20)
            assert until(lambda: not gets_in(join, keeper, device.id, secret_of(device)))


def test_what_is_retained_outlives_a_restart(start, join):
    device = make_device()
    broker = start(poll=3600)
    server = join(broker, "server", SERVER_SECRET, client_id="server-outbox")
    assert server.publish(f"{DOWN}/{device.id}/desired", b"run this", retain=True)
    broker.process.send_signal(signal.SIGTERM)
    assert until(lambda: gets_in(join, broker, device.id, secret_of(device)), 15)
    peer = join(broker, device.id, secret_of(device))
    peer.subscribe(f"{DOWN}/{device.id}/#")
    assert peer.saw(b"run this")
