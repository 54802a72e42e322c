"""A link that comes back, and a state that is never overtaken."""

import socket
import threading

import pytest

from agent.addresses import Server
from agent.link import connection as link
from agent.link.connection import Connection, Credentials, Message
from agent.link.presence import Facts, Presence
from agent.wire.hardware import GIB, DeviceClass, Hardware
from tests.agent.waiting import wait_for

HARDWARE = Hardware(cores=4, memory_bytes=4 * GIB, storage_bytes=32 * GIB)


@pytest.fixture
def connect(broker):
    made = []

    def start(there: Presence | None = None, **how) -> Connection:
        how = {"on_message": lambda *_: None, **how}
        each = Connection(Server("127.0.0.1", broker.port), Credentials("d-1", "d-1", "x"), **how)
        made.append(each)
        if there is not None:
            there.connection = each
        each.start()
        return each

    yield start
    for each in made:
        each.stop()


def test_what_is_subscribed_comes_again_after_the_broker_forgot_everything(connect, server, broker):
    came = []
    connection = connect(
        on_message=lambda topic, body: came.append((topic, body)), subscriptions=("edgefleet/v1/down/d-1/#",)
    )
    wait_for("the link", lambda: connection.connected)
    connection.subscribe("edgefleet/v1/cast/manifest/" + "0" * 64)
    broker.stop()
    wait_for("the loss", lambda: not connection.connected)
    broker.start()
    wait_for("the link again", lambda: connection.connected)
    wait_for("the server's link again", server._client.is_connected)
    server.publish("edgefleet/v1/down/d-1/desired", b"1")
    server.publish("edgefleet/v1/cast/manifest/" + "0" * 64, b"2")

    wait_for("both messages", lambda: {body for _, body in came} >= {b"1", b"2"})


def test_without_a_link_nothing_is_taken_to_be_sent(connect, broker):
    connection = connect()
    wait_for("the link", lambda: connection.connected)
    delivery = connection.publish("edgefleet/v1/up/d-1/want", b"x")
    assert delivery is not None and delivery.wait(5)
    broker.stop()
    wait_for("the loss", lambda: not connection.connected)

    assert connection.publish("edgefleet/v1/up/d-1/want", b"x") is None


def test_a_handler_that_breaks_does_not_take_the_link_along(connect, server, caplog):
    came = []

    def handle(_topic, body):
        came.append(body)
        raise ValueError("odd")

    connection = connect(on_message=handle, subscriptions=("edgefleet/v1/down/d-1/#",))
    wait_for("the link", lambda: connection.connected)
    for number in range(3):
        server.publish("edgefleet/v1/down/d-1/desired", str(number).encode())

    wait_for("all of them", lambda: len(came) == 3)
    assert connection.connected
    assert "a message handler failed" in caplog.text


def test_no_broker_at_all_is_tried_again_with_growing_waits(monkeypatch, caplog):
    monkeypatch.setattr(link, "RETRY_FIRST", 0.01)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening: connections are refused
        connection = Connection(
            Server("127.0.0.1", taken.getsockname()[1]), Credentials("d-1", "d-1", "x"), on_message=lambda *_: None
        )
        connection.start()
        wait_for("some attempts", lambda: caplog.text.count("no link to 127.0.0.1") >= 4)
        connection.stop()


def test_stopping_while_it_waits_is_prompt(broker):
    broker.stop()
    connection = Connection(
        Server("127.0.0.1", broker.port), Credentials("d-1", "d-1", "x"), on_message=lambda *_: None
    )
    connection.start()
    connection.stop(seconds=2)

    assert not any(thread.name == "link" for thread in threading.enumerate())


# --- The reported state ---


def presence() -> Presence:
    return Presence("d-1", "b-1", Facts(DeviceClass.EMBEDDED, HARDWARE), clock=lambda: 1795000000.0)


def test_a_will_passes_every_state_of_its_connection_and_the_next_state_passes_the_will(connect, server, broker):
    there = presence()
    connect(there, will=there.will, on_connected=there.announce)
    wait_for("the state", lambda: server.states)
    for _ in range(3):
        there.announce()
    wait_for("four states", lambda: len(server.states) == 4)
    will: Message = there.will()  # that of a next attempt
    there.announce()
    wait_for("a state of the next connection", lambda: len(server.states) == 5)

    numbers = [state.seq for state in server.states]
    assert numbers == sorted(set(numbers))
    assert numbers[3] < 1_999_999 < numbers[4]
    assert will.retain


def test_the_server_hears_the_will_when_the_device_is_cut_off(connect, server):
    there = presence()
    connection = connect(there, will=there.will, on_connected=there.announce)
    wait_for("the state", lambda: server.states)
    # Cut the wire without a word.
    connection.client.socket().shutdown(socket.SHUT_RDWR)

    wait_for("the will", lambda: any(not state.online for state in server.states))
    wait_for("its return", lambda: server.states[-1].online)


def test_a_change_is_told_once(connect, server):
    there = presence()
    connect(there, on_connected=there.announce)
    wait_for("the state", lambda: server.states)
    there.change(mode="slim", config_version=4)
    there.change(mode="slim", config_version=4)
    there.change(idle=False)

    wait_for("both changes", lambda: server.states[-1].idle is False)
    assert [(state.mode, state.config_version) for state in server.states] == [("full", 0), ("slim", 4), ("slim", 4)]


def test_threads_that_send_at_once_do_not_tear_each_others_messages(connect, server):
    connection = connect()
    wait_for("the link", lambda: connection.connected)
    came: list[bytes] = []
    server._client.on_message = lambda _client, _data, message: came.append(message.payload)

    def send(letter: bytes) -> None:
        for _ in range(20):
            delivery = connection.publish("edgefleet/v1/up/d-1/telemetry", letter * 100_000)
            assert delivery is not None
            wait_for("its acknowledgement", lambda: delivery.wait(1))  # noqa: B023 -- called at once

    threads = [threading.Thread(target=send, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    wait_for("all of them", lambda: len(came) == 60)

    assert sorted(came) == [letter * 100_000 for letter in (b"a", b"b", b"c") for _ in range(20)]
