"""How often a device says how far it is: often enough to be watched, and not more."""

import pytest

from agent.addresses import Server
from agent.deployment.records import Attempt
from agent.deployment.report import Reporter
from agent.link.connection import Connection, Credentials
from agent.wire.states import Deployment as State
from tests.agent.waiting import wait_for

WATCHING = Attempt(deployment_id="p-1", manifest="ab" * 32, state=State.WATCHING)
DOWNLOADING = Attempt(deployment_id="p-1", manifest="ab" * 32, state=State.DOWNLOADING)


@pytest.fixture
def said(server, broker):
    """`said(looks)`: the progress that reaches the server of looks (attempt, seconds, share)."""
    connection = Connection(
        Server("127.0.0.1", broker.port), Credentials("d-1", "d-1", "x"), on_message=lambda *_: None
    )
    connection.start()
    wait_for("the link", lambda: connection.connected)

    def tell(looks) -> list[float]:
        now = [0.0]
        reporter = Reporter("d-1", "b-1", connection, steady_clock=lambda: now[0])
        for attempt, now[0], share in looks:
            reporter.progress(attempt, "", share)
        reporter.report(DOWNLOADING, "the end", 1.0)
        wait_for("the last", lambda: server.deployments and server.deployments[-1].step == "the end")
        return [report.progress for report in server.deployments[:-1]]

    yield tell
    connection.stop()


def test_a_watch_of_a_minute_is_told_every_five_seconds(said):
    found = said([(WATCHING, second / 4, second / 240) for second in range(240)])
    assert found == [number / 12 for number in range(12)]


def test_what_goes_fast_is_told_once_a_second(said):
    assert said([(DOWNLOADING, second / 10, second / 30) for second in range(30)]) == [0, 10 / 30, 20 / 30]


def test_what_stands_still_is_told_all_the_same(said):
    assert said([(DOWNLOADING, second, 0.5) for second in range(12)]) == [0.5, 0.5, 0.5]


def test_another_state_is_told_at_once_but_for_the_second(said):
    looks = [(DOWNLOADING, 0, 0.9), (WATCHING, 0.5, 0.0), (WATCHING, 1.0, 0.01), (WATCHING, 2.0, 0.02)]
    assert said(looks) == [0.9, 0.01]
