"""Who may do what, as devices and intruders see it: the same for every broker that Edgefleet runs on."""

import time
from contextlib import closing, suppress

import pytest

from agent.wire.topics import PREFIX
from tests.fleet.brokers.conftest import SECRETS
from tests.fleet.brokers.peers import (
    CAST,
    DOWN,
    ENROLL,
    REFUSED,
    UP,
    answer,
    closed_by_broker,
    connect_packet,
    dial,
    until,
)
from tests.fleet.brokers.targets import MAX_CONNECTIONS


def private_topics(victim: str) -> tuple[str, ...]:
    """Topics that are nobody's business but the victim's and the server's."""
    return (f"{UP}/{victim}/telemetry", f"{DOWN}/{victim}/command/c1", f"{ENROLL}/n1/reply", f"{ENROLL}/n1/request")


def overhears(join, spy, filters: tuple[str, ...], victim: str, allowed: str) -> list[str]:
    """Topics that reach `spy` after it has asked for `filters`; `allowed` is one that it may read."""
    assert spy.subscribe(*filters) == [REFUSED] * len(filters)
    assert spy.subscribe(allowed) != [REFUSED]
    server = join("server")
    for topic in private_topics(victim):
        server.publish(topic, b"private")
    server.publish(allowed, b"the end")
    assert spy.saw(b"the end")
    return [topic for topic in spy.topics() if topic != allowed]


# --- What is allowed ------------------------------------------------------------------------------------------------


def test_a_device_writes_its_own_up_topics_and_reads_its_own_down_topics(join, new_name):
    me = new_name()
    server, device = join("server"), join(me)
    server.subscribe(f"{UP}/#")
    assert device.subscribe(f"{DOWN}/{me}/#") == [1]
    device.publish(f"{UP}/{me}/telemetry", b"hello")
    server.publish(f"{DOWN}/{me}/command/c1", b"do it")
    assert server.saw(b"hello")
    assert device.saw(b"do it")


def test_a_device_reads_what_is_cast_to_all_now_and_retained(join, new_name):
    server, device = join("server"), join(new_name())
    server.publish(f"{CAST}/manifest/m1", b"kept", retain=True)
    assert device.subscribe(f"{CAST}/#") == [1]
    server.publish(f"{CAST}/block/b1/0", b"live")
    assert device.saw(b"kept")
    assert device.saw(b"live")
    server.publish(f"{CAST}/manifest/m1", b"", retain=True)


def test_enrolling_sends_a_request_and_reads_the_reply_to_it(join):
    server, new = join("server"), join("enroll-aa")
    server.subscribe(f"{ENROLL}/+/request")
    assert new.subscribe(f"{ENROLL}/n7/reply") == [1]
    new.publish(f"{ENROLL}/n7/request", b"let me in")
    assert server.saw(b"let me in")
    server.publish(f"{ENROLL}/n7/reply", b"welcome")
    assert new.saw(b"welcome")


def test_the_last_will_of_a_device_that_loses_its_network_is_published(join, new_name):
    me = new_name()
    server = join("server")
    server.subscribe(f"{UP}/{me}/#")
    join(me, will=(f"{UP}/{me}/state", b"offline")).cut()
    assert server.saw(b"offline")


# --- Topics of others -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["cast", "another's up", "another's down", "its own down"])
def test_a_device_cannot_write_anywhere_else(join, new_name, place):
    me, other = new_name(), new_name()
    topic = {
        "cast": f"{CAST}/manifest/m1",
        "another's up": f"{UP}/{other}/telemetry",
        "another's down": f"{DOWN}/{other}/command/c1",
        "its own down": f"{DOWN}/{me}/command/c1",
    }[place]
    server, device = join("server"), join(me)
    server.subscribe(f"{PREFIX}/#")
    device.publish(topic, b"forged")
    device.publish(f"{UP}/{me}/telemetry", b"the end")
    if device.gone.is_set():
        return  # a broker may also throw it out
    assert server.saw(b"the end")
    assert topic not in server.topics()


def test_a_device_cannot_read_what_is_anothers(join, new_name):
    me, other = new_name(), new_name()
    filters = (f"{DOWN}/{other}/#", f"{DOWN}/{other}/command/c1", f"{UP}/{other}/#", f"{UP}/{me}/#")
    assert overhears(join, join(me), filters, other, f"{DOWN}/{me}/command/c1") == []


def test_a_device_cannot_read_with_wildcards_that_reach_further(join, new_name):
    me, other = new_name(), new_name()
    filters = (
        *("#", "+/#", f"{PREFIX}/#", f"{PREFIX}/+/{me}/#", f"{DOWN}/+/#", f"{DOWN}/+/command/c1"),
        *(f"+/v1/down/{me}/#", f"$share/g/{DOWN}/{other}/#"),
    )
    assert overhears(join, join(me), filters, other, f"{DOWN}/{me}/command/c1") == []


def test_a_device_cannot_read_the_brokers_own_topics(join, new_name):
    filters = ("$SYS/#", "$CONTROL/#", "$CONTROL/dynamic-security/v1/response")
    assert join(new_name()).subscribe(*filters) == [REFUSED] * 3


def test_a_device_cannot_write_the_brokers_own_topics_and_is_not_left_deaf(join, new_name):
    me, other = new_name(), new_name()
    server, device = join("server"), join(me)
    server.subscribe(f"{UP}/#")
    device.publish("$SYS/broker/version", b"forged")
    device.publish(
        "$CONTROL/dynamic-security/v1", b'{"commands":[{"command":"deleteClient","username":"%s"}]}' % other.encode()
    )
    device.publish(f"{UP}/{me}/telemetry", b"still here")
    assert device.gone.is_set() or server.saw(b"still here")
    assert b"forged" not in [payload for _, payload, _ in server.got]
    assert join(other).let_in


def test_nothing_retained_reaches_a_device_that_did_not_ask_for_it(join, new_name):
    me, other = new_name(), new_name()
    server = join("server")
    server.subscribe(f"{PREFIX}/#")
    server.publish(f"{DOWN}/{other}/desired", b"for the other", retain=True)
    device = join(me)
    device.subscribe(f"{DOWN}/{me}/#")
    server.publish(f"{DOWN}/{me}/command/c1", b"the end")
    assert device.saw(b"the end")
    assert device.topics() == [f"{DOWN}/{me}/command/c1"]


def test_a_device_cannot_leave_a_retained_message_for_others(join, new_name):
    me, other = new_name(), new_name()
    server, device = join("server"), join(me)
    for topic in (f"{DOWN}/{other}/desired", f"{CAST}/manifest/m1"):
        device.publish(topic, b"poison", retain=True)
    victim = join(other)
    victim.subscribe(f"{DOWN}/{other}/#", f"{CAST}/#")
    server.publish(f"{DOWN}/{other}/command/c1", b"the end")
    assert victim.saw(b"the end")
    assert not victim.saw(b"poison", 0)


def test_a_last_will_on_anothers_topic_is_never_published(join, new_name):
    me, other = new_name(), new_name()
    server = join("server")
    server.subscribe(f"{PREFIX}/#")
    for topic in (f"{DOWN}/{other}/command/c1", f"{CAST}/manifest/m1", f"{UP}/{other}/state"):
        join(me, will=(topic, b"evil will")).cut()
    join(me, will=(f"{UP}/{me}/state", b"the end")).cut()
    assert server.saw(b"the end")
    assert not server.saw(b"evil will", 0)


# --- Enrollment credentials -----------------------------------------------------------------------------------------


def test_enrolling_reads_nothing_but_its_own_reply(join, new_name):
    other = new_name()
    filters = (
        *(f"{DOWN}/#", f"{DOWN}/{other}/#", f"{CAST}/#", f"{UP}/#", f"{ENROLL}/#", f"{ENROLL}/+/request"),
        *(f"{ENROLL}/+/+", f"{ENROLL}/+/reply", "#"),
    )
    assert overhears(join, join("enroll-aa"), filters, other, f"{ENROLL}/n8/reply") == []


def test_enrolling_writes_nothing_but_requests(join, new_name):
    server, new = join("server"), join("enroll-aa")
    server.subscribe(f"{PREFIX}/#")
    for topic in (
        *(f"{UP}/{new_name()}/telemetry", f"{CAST}/manifest/m1"),
        *(f"{ENROLL}/n2/reply", f"{ENROLL}/n2/x/request"),
    ):
        new.publish(topic, b"forged")
    new.publish(f"{ENROLL}/n2/request", b"the end")
    assert server.saw(b"the end")
    assert not server.saw(b"forged", 0)


def test_a_device_cannot_ask_for_enrollment_again(join, new_name):
    me = new_name()
    server, device = join("server"), join(me)
    server.subscribe(f"{PREFIX}/#")
    device.publish(f"{ENROLL}/n3/request", b"forged")
    device.publish(f"{UP}/{me}/telemetry", b"the end")
    assert server.saw(b"the end")
    assert not server.saw(b"forged", 0)


# --- Logins ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("dev000", "wrong"),
        ("dev000", ""),
        ("dev000", SECRETS["dev001"]),
        ("nobody", "x"),
        ("", ""),
    ],
    ids=["wrong secret", "no secret", "another's secret", "unknown name", "no name"],
)
def test_without_the_right_secret_nobody_gets_in(join, name, secret):
    assert not join(name, secret=secret, client_id=name or "x1").let_in


def test_a_revoked_device_is_thrown_out_at_once_and_stays_out(target, join, new_name):
    me = new_name()
    device = join(me, will=(f"{UP}/{me}/state", b"offline"))
    assert device.up
    target.revoke(me)
    assert device.gone.wait(1)
    assert not join(me).let_in


# --- Sessions -------------------------------------------------------------------------------------------------------


def serves(server, device, name: str) -> bool:
    """Whether the device still gets what is sent to it."""
    payload = f"at {time.monotonic()}".encode()
    server.publish(f"{DOWN}/{name}/command/c1", payload)
    return device.saw(payload, 2) and device.up


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "persistent"])
@pytest.mark.parametrize("intruder", ["another identity", "no valid login"])
def test_nobody_takes_over_the_client_id_of_a_connected_device(join, new_name, intruder, clean):
    victim = new_name()
    server, device = join("server"), join(victim, clean=False)
    device.subscribe(f"{DOWN}/{victim}/#")
    assert serves(server, device, victim)
    if intruder == "another identity":
        join("enroll-aa", client_id=victim, clean=clean)
    else:
        assert not join(victim, secret="wrong", clean=clean).let_in
    assert serves(server, device, victim)


def test_what_waits_for_a_device_goes_to_no_one_else(join, new_name):
    victim, intruder = new_name(), new_name()
    device = join(victim, clean=False)
    device.subscribe(f"{DOWN}/{victim}/#")
    device.leave()
    server = join("server")
    server.publish(f"{DOWN}/{victim}/command/c1", b"while away")
    thief = join(intruder, client_id=victim, clean=False)
    if thief.let_in:  # a broker may let it in under its own name
        thief.subscribe(f"{DOWN}/{intruder}/#")
        assert serves(server, thief, intruder)
    assert not thief.saw(b"while away", 0)
    thief.leave()
    join(victim, secret="wrong", clean=False)
    server.publish(f"{DOWN}/{victim}/command/c2", b"and this")
    back = join(victim, clean=False)
    assert back.saw(b"while away")
    assert back.saw(b"and this")


def test_a_device_that_reconnects_over_its_own_live_connection_is_served(join, new_name):
    me = new_name()
    server, first = join("server"), join(me, clean=False)
    first.subscribe(f"{DOWN}/{me}/#")
    second = join(me, clean=False)
    assert first.gone.wait(5)
    assert serves(server, second, me)
    assert serves(server, second, me)


def test_a_persistent_session_after_a_clean_one_stays(join, new_name):
    me = new_name()
    join(me, clean=True).leave()
    server, device = join("server"), join(me, clean=False)
    device.subscribe(f"{DOWN}/{me}/#")
    # A broker that sweeps the clean session that was would do so now.
    assert not device.gone.wait(1.5)
    assert serves(server, device, me)


# --- Bounds ---------------------------------------------------------------------------------------------------------


def test_a_message_of_a_mebibyte_is_not_passed_on(join, new_name):
    me, other = new_name(), new_name()
    server, device = join("server"), join(me)
    server.subscribe(f"{UP}/#")
    big = b"z" * (1 << 20)
    device.publish(f"{UP}/{me}/telemetry", big, seconds=1)
    join(other).publish(f"{UP}/{other}/telemetry", b"the end")
    assert server.saw(b"the end")
    assert not server.saw(big, 0)


def test_a_client_that_falls_silent_is_dropped(target, new_name):
    me = new_name()
    with closing(dial(target.device_port, target.ca)) as line:
        line.sendall(connect_packet(me, SECRETS[me], keepalive=1))
        assert answer(line)[3] == 0
        assert closed_by_broker(line, 15)


def test_connections_beyond_the_limit_are_refused_and_the_others_go_on(target, new_name):
    if not target.limits_connections:
        pytest.skip("mosquitto's max_connections drifts: the number of connections is limited at the firewall")
    lines, let_in = [], []
    for _ in range(MAX_CONNECTIONS + 10):
        me = new_name()
        with suppress(OSError):
            line = dial(target.device_port, target.ca, seconds=1)
            lines.append(line)
            line.sendall(connect_packet(me, SECRETS[me]))
            if answer(line) == b"\x20\x02\x00\x00":
                let_in.append(line)
    assert 0 < len(let_in) <= MAX_CONNECTIONS
    let_in[0].sendall(b"\xc0\x00")
    assert answer(let_in[0]) == b"\xd0\x00"
    for line in lines:
        line.close()
    me = new_name()

    def place_again() -> bool:
        with suppress(OSError), closing(dial(target.device_port, target.ca, seconds=1)) as line:
            line.sendall(connect_packet(me, SECRETS[me]))
            return answer(line) == b"\x20\x02\x00\x00"
        return False

    assert until(place_again)
