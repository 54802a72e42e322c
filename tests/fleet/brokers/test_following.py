"""Logins follow the database: what an operator does is what a device sees, within about a second."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from agent.wire.access import enroll_login
from agent.wire.states import Admission
from fleet.brokers.embedded.broker import EmbeddedBroker
from fleet.brokers.follower import Follower, Pace
from fleet.brokers.identities import IdentityTable
from fleet.devices import credentials, services
from fleet.devices.models import Device, EnrollmentToken
from tests.conftest import make_device
from tests.fleet.brokers.peers import DOWN, ENROLL, UP, Peer, until

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "the server's secret"


def secret_of(device: Device) -> str:
    return f"secret-of-{device.id}".ljust(32, "_")


@pytest.fixture
def start() -> Iterator[Callable[..., EmbeddedBroker]]:
    """`start(poll=3600)`: a broker on the test's database, with this pace."""
    started: list[EmbeddedBroker] = []

    def start(**pace) -> EmbeddedBroker:
        table = IdentityTable(SECRET)
        started.append(EmbeddedBroker(table, follower=Follower(table, Pace(**pace))).start())
        return started[-1]

    yield start
    for broker in started:
        broker.stop()


@pytest.fixture
def join() -> Iterator[Callable[..., Peer]]:
    joined: list[Peer] = []

    def connect(broker: EmbeddedBroker, name: str, secret: str, **options) -> Peer:
        joined.append(Peer(broker.port, name, secret, **options))
        return joined[-1]

    yield connect
    for peer in joined:
        peer.leave()


def join_token(join, broker: EmbeddedBroker, text: str) -> Peer:
    token_id, _, secret = text.partition(".")
    return join(broker, enroll_login(token_id, 0), secret, client_id="enroll-n1")


# --- Getting in -----------------------------------------------------------------------------------------------------


def test_who_was_there_at_the_start_gets_in_and_who_was_not_admitted_does_not(start, join):
    device, pending = make_device(), make_device(admission=Admission.PENDING)
    retired = make_device(retired_at=timezone.now())
    broker = start(poll=3600)
    assert join(broker, device.id, secret_of(device)).let_in
    assert not join(broker, pending.id, secret_of(pending)).let_in
    assert not join(broker, retired.id, secret_of(retired)).let_in
    assert join(broker, "server", SECRET).let_in
    assert len(broker.table) == 4


def test_a_device_that_enrolled_a_moment_ago_gets_in_at_once(start, join):
    broker = start(poll=3600)
    device = make_device()
    assert join(broker, device.id, secret_of(device)).let_in


def test_a_device_that_is_accepted_gets_in(start, join):
    device = make_device(admission=Admission.PENDING)
    broker = start(poll=3600)
    assert not join(broker, device.id, secret_of(device)).let_in
    services.accept([device], by=None)
    assert join(broker, device.id, secret_of(device)).let_in


def test_a_new_token_lets_devices_enroll_and_an_expired_one_still_connects_to_be_told_so(start, join):
    broker = start()
    token, text = services.create_token("new boards", by=None)
    assert join_token(join, broker, text).let_in
    EnrollmentToken.objects.filter(pk=token.pk).update(expires_at=timezone.now(), uses=1)
    assert join_token(join, broker, text).let_in


# --- Getting out ----------------------------------------------------------------------------------------------------


def test_a_retired_device_is_thrown_out_within_about_a_second_and_its_last_will_is_heard(start, join):
    device = make_device()
    broker = start()
    server = join(broker, "server", SECRET)
    server.subscribe(f"{UP}/#")
    peer = join(broker, device.id, secret_of(device), clean=False, will=(f"{UP}/{device.id}/state", b"offline"))
    services.retire(device, by=None)
    assert peer.gone.wait(1.2)
    assert server.saw(b"offline")
    assert not join(broker, device.id, secret_of(device)).let_in


def test_a_rejected_device_is_thrown_out(start, join):
    device = make_device()
    broker = start()
    peer = join(broker, device.id, secret_of(device))
    services.reject([device], by=None)
    assert peer.gone.wait(1.2)


def test_a_revoked_token_is_thrown_out(start, join):
    token, text = services.create_token("lost", by=None)
    broker = start()
    peer = join_token(join, broker, text)
    assert peer.publish(f"{ENROLL}/n1/request")
    services.revoke_token(token, by=None)
    assert peer.gone.wait(1.2)
    assert not join_token(join, broker, text).let_in


@pytest.mark.parametrize("poll", [0.5, 3600], ids=["by the poll", "by the login with the new one"])
def test_a_new_secret_ends_the_connection_with_the_old_one(start, join, poll):
    device = make_device()
    broker = start(poll=poll)
    old = join(broker, device.id, secret_of(device), clean=False)
    assert old.up
    salt = credentials.new_salt()
    Device.objects.filter(pk=device.pk).update(
        salt=salt, digest=credentials.digest("new", salt), credential_changed_at=timezone.now()
    )
    if poll < 1:
        assert old.gone.wait(1.2)
    assert join(broker, device.id, "new", clean=False).let_in
    assert old.gone.wait(1.2)
    assert not join(broker, device.id, secret_of(device)).let_in


def test_a_login_that_fails_also_finds_out_that_the_device_was_retired(start, join):
    device = make_device()
    broker = start(poll=3600)
    peer = join(broker, device.id, secret_of(device))
    services.retire(device, by=None)
    assert not join(broker, device.id, "wrong").let_in
    assert peer.gone.wait(1.2)


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "absent"])
def test_what_waited_for_a_device_that_was_rejected_is_gone_when_it_is_accepted_again(start, join, connected):
    device = make_device()
    broker = start()
    peer = join(broker, device.id, secret_of(device), clean=False, manual_ack=True)
    peer.subscribe(f"{DOWN}/{device.id}/#")
    if not connected:
        peer.leave()
    assert join(broker, "server", SECRET).publish(f"{DOWN}/{device.id}/command/c1", b"order")
    assert broker.queued_bytes == len(b"order")
    services.reject([device], by=None)
    assert until(lambda: broker.queued_bytes == 0)
    services.accept([device], by=None)
    back = join(broker, device.id, secret_of(device), clean=False)
    assert back.let_in
    assert not back.session_present


def test_a_deleted_device_is_thrown_out_by_the_next_sweep(start, join):
    device = make_device()
    broker = start(poll=0.1, sweep=0.3)
    peer = join(broker, device.id, secret_of(device))
    Device.objects.all().delete()
    assert peer.gone.wait(2)
    assert not join(broker, device.id, secret_of(device)).let_in


def test_a_change_that_was_stamped_before_the_last_look_is_still_found(start, join):
    """As by a transaction that ended late, or a web server whose clock is behind."""
    device = make_device()
    broker = start(poll=0.1)
    peer = join(broker, device.id, secret_of(device))
    late = timezone.now() - timedelta(seconds=5)
    Device.objects.filter(pk=device.pk).update(retired_at=late, credential_changed_at=late)
    assert peer.gone.wait(1.2)


# --- Load and outage ------------------------------------------------------------------------------------------------


def test_bad_logins_do_not_become_a_storm_of_queries(start, join):
    broker = start(poll=3600, lookups=3, lookups_per_second=1.0)
    for number in range(10):
        assert not join(broker, f"nobody-{number}", "x").let_in
    device = make_device()
    assert not join(broker, device.id, secret_of(device)).let_in
    assert until(lambda: join(broker, device.id, secret_of(device)).let_in, 3)


@contextmanager
def database_away() -> Iterator[None]:
    """The tables are gone: each query ends with an error of the database."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE devices_device RENAME TO away_device")
        cursor.execute("ALTER TABLE devices_enrollmenttoken RENAME TO away_token")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE away_device RENAME TO devices_device")
            cursor.execute("ALTER TABLE away_token RENAME TO devices_enrollmenttoken")


def test_while_the_database_is_away_everybody_who_is_known_is_served_and_it_is_said_once(start, join, caplog):
    device = make_device()
    broker = start(poll=0.05)
    peer = join(broker, device.id, secret_of(device))
    with caplog.at_level(logging.WARNING, "fleet.brokers.follower"):
        with database_away():
            assert until(lambda: "The database is away" in caplog.text)
            assert peer.publish(f"{UP}/{device.id}/telemetry")
            assert not join(broker, "nobody", "x").let_in
            peer.leave()
            assert join(broker, device.id, secret_of(device)).let_in
        late = make_device()
        assert until(lambda: "The database is back" in caplog.text)
    assert caplog.text.count("The database is away") == 1
    assert join(broker, late.id, secret_of(late)).let_in
    services.retire(device, by=None)
    assert until(lambda: not join(broker, device.id, secret_of(device)).let_in, 2)


def test_ten_thousand_logins_are_read_at_the_start():
    salt = credentials.new_salt()
    digest = credentials.digest("one for all", salt)
    Device.objects.bulk_create(
        [
            Device(
                id=f"d-{n:06d}", name=f"d-{n:06d}", nonce=f"n-{n:06d}", salt=salt, digest=digest, admission="accepted"
            )
            for n in range(10_000)
        ],
        batch_size=500,
    )
    table = IdentityTable(SECRET)
    follower = Follower(table)

    asyncio.run(follower.load())
    follower.close()
    assert len(table) == 10_001
    assert table.verify("d-009999", "one for all")
