"""A budget set on a device's page, and what the real agent makes of it, on that page again.

The agent is a process of its own behind a real broker. Only the gateway's own loop is played: its outbox is carried to
the broker, and what the device says to its handlers.
"""

import re
from collections.abc import Callable, Iterator

import pytest

from agent.wire import codec, topics
from fleet.audit.models import Event
from fleet.gateway import handlers
from fleet.gateway.inbox import Inbound
from fleet.gateway.models import Outbox
from tests.agent.broker import TestBroker
from tests.agent.support import AgentProcess, Server
from tests.agent.variants import variant
from tests.agent.waiting import wait_for
from tests.conftest import make_device

pytestmark = pytest.mark.django_db
FORM = {"telemetry_interval": "1", "watch_seconds": "0", "mode": "full"}


class Carrier:
    """Carries messages between the outbox, the broker and the handlers."""

    def __init__(self, end: Server) -> None:
        self.end = end
        self._handle = handlers.make(lambda *_: None)
        self._heard = 0

    def carry(self) -> None:
        for row in Outbox.objects.order_by("id"):
            self.end.publish(row.topic, bytes(row.payload), retain=row.retain)
            row.delete()
        said, self._heard = self.end.states[self._heard :], len(self.end.states)
        if said:
            self._handle([Inbound(topics.up("d-1", "state"), codec.encode(state)) for state in said])

    def until(self, words: str, condition: Callable[[], object]) -> None:
        def look() -> object:
            self.carry()
            return condition()

        wait_for(words, look, 60)


@pytest.fixture
def carrier(tmp_path) -> Iterator[Carrier]:
    """A device `d-1` that runs a model of its own and acts."""
    broker = TestBroker().start()
    end = Server(broker.port).start()
    process = AgentProcess(tmp_path / "data", broker.port, source="tests.agent.worlds:steady", threads="4").start()
    made = variant(2.0)
    end.offer(made)
    end.wish(made.digest, "p-1")
    end.ended("p-1", "active", 60)
    make_device(id="d-1", desired_version=100, desired_manifest=made.digest, desired_deployment="p-1")
    yield Carrier(end)
    process.kill()
    end.stop()
    broker.stop()


def test_the_agent_keeps_what_the_page_asks_for_and_the_page_says_how(carrier, operating):
    def page() -> str:
        return re.sub(r"\s+", " ", operating.get("/devices/d-1").text)

    carrier.until("the device", lambda: "Held back" not in page() and "mode" in page())
    assert operating.post("/devices/d-1/config", {**FORM, "memory_budget": "20"}).status_code == 302
    carrier.until("every step", lambda: "Asks for a smaller variant" in page())
    text = page()
    assert re.search(r"<p>Keeps no cache</p> <p>since <time [^>]*>[^<]*</time>, because its memory was at \d+ %", text)
    assert "of 20 MiB)" in text
    told = {each.step: each.level for each in carrier.end.states[-1].restraints}
    # A model this small may be fastest on one thread; then there is none to do without.
    assert told.get("fewer_threads", 1) == 1
    assert ("<p>Runs on 1 thread</p>" in text) == ("fewer_threads" in told)

    operating.post("/devices/d-1/config", {**FORM, "mode": "slim"})
    carrier.until("slim and free", lambda: carrier.end.states[-1].mode == "slim" and "Held back" not in page())
    operating.post("/devices/d-1/config", FORM)
    carrier.until("full again", lambda: carrier.end.states[-1].mode == "full")
    kinds = set(Event.objects.filter(device="d-1").values_list("kind", flat=True))
    assert {"device.config", "device.restrained", "device.freed"} <= kinds
