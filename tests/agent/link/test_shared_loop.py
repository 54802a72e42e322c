"""Many connections in one thread: each is as good as one of its own."""

import threading

import pytest

from agent.addresses import Server
from agent.link.connection import Connection, Credentials
from agent.link.shared_loop import SharedLoop
from tests.agent.waiting import wait_for

COUNT = 30


@pytest.fixture
def loop():
    made = SharedLoop()
    made.start()
    yield made
    made.stop()
    assert not made.thread.is_alive()


@pytest.fixture
def connect(broker, loop):
    made = []

    def start(number: int, **how) -> Connection:
        name = f"d-{number}"
        how = {"on_message": lambda *_: None, "subscriptions": (f"edgefleet/v1/down/{name}/#",), **how}
        each = Connection(Server("127.0.0.1", broker.port), Credentials(name, name, "x"), drive=loop.drive, **how)
        made.append(each)
        each.start()
        return each

    yield start
    for each in made:
        each.stop()


def test_all_are_driven_by_one_thread_and_get_their_own_messages(connect, server):
    came: dict[int, list[bytes]] = {number: [] for number in range(COUNT)}
    before = threading.active_count()
    all_of_them = [connect(n, on_message=lambda _, body, n=n: came[n].append(body)) for n in range(COUNT)]
    wait_for("all links", lambda: all(each.connected for each in all_of_them))
    assert threading.active_count() == before
    for number in range(COUNT):
        server.publish(f"edgefleet/v1/down/d-{number}/desired", str(number).encode() * 50_000)
    wait_for("a message each", lambda: all(came.values()))
    assert all(bodies == [str(number).encode() * 50_000] for number, bodies in came.items())


def test_what_any_thread_publishes_is_acknowledged(connect):
    all_of_them = [connect(number) for number in range(COUNT)]
    wait_for("all links", lambda: all(each.connected for each in all_of_them))
    unsure: list[int] = []

    def talk(number: int) -> None:
        for _ in range(10):
            sent = all_of_them[number].publish(f"edgefleet/v1/up/d-{number}/want", b"x" * 20_000)
            if sent is None or not sent.wait(10):
                unsure.append(number)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(COUNT)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert unsure == []


def test_a_broker_that_comes_back_finds_all_of_them_again(connect, broker):
    all_of_them = [connect(number) for number in range(COUNT)]
    wait_for("all links", lambda: all(each.connected for each in all_of_them))
    broker.stop()
    wait_for("the loss", lambda: not any(each.connected for each in all_of_them))
    broker.start()
    wait_for("all links again", lambda: all(each.connected for each in all_of_them), 30)


def test_one_that_breaks_costs_the_others_nothing(connect, server):
    def breaks(*_: object) -> None:
        raise RuntimeError("a handler's mistake")

    came: list[bytes] = []
    bad, good = connect(1, on_message=breaks), connect(2, on_message=lambda _, body: came.append(body))
    wait_for("both links", lambda: bad.connected and good.connected)
    for number in (1, 2):
        server.publish(f"edgefleet/v1/down/d-{number}/desired", b"1")
    wait_for("the other's message", lambda: came)
    assert bad.connected


def test_one_that_stops_says_goodbye_and_the_others_go_on(connect):
    one, other = connect(1), connect(2)
    wait_for("both links", lambda: one.connected and other.connected)
    one.stop()
    assert not one.connected and other.connected
    sent = other.publish("edgefleet/v1/up/d-2/want", b"x")
    assert sent is not None and sent.wait(5)
