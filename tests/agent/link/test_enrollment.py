"""The first boot, over a real broker."""

import itertools
import json
import threading
import time

import pytest

from agent import config
from agent.addresses import Server
from agent.config import ConfigError, Settings
from agent.link import enrollment
from agent.link.enrollment import Enrollment
from agent.wire import codec, topics
from agent.wire.hardware import GIB, Hardware
from agent.wire.messages import EnrollReply
from tests.agent.support import TOKEN
from tests.agent.waiting import wait_for

HARDWARE = Hardware(cores=4, memory_bytes=4 * GIB, storage_bytes=32 * GIB)


@pytest.fixture
def quick(monkeypatch):
    """Ask again after moments, not minutes."""
    monkeypatch.setattr(enrollment, "PATIENCE", {"none": (0.2, 0.2), "pending": (0.2, 0.2), "other": (0.2, 0.2)})


@pytest.fixture
def settings(broker, tmp_path):
    return Settings(
        data=tmp_path, server=Server("127.0.0.1", broker.port), token=TOKEN, name="line-3", tags=("site=berlin",)
    )


class Boot:
    """One boot of a device that is not enrolled, in a thread."""

    def __init__(self, settings: Settings) -> None:
        self.stop = threading.Event()
        self.result: list[enrollment.Identity | None] = []
        identity = enrollment.read_or_make(settings.data)
        self._made = Enrollment(settings, identity, HARDWARE, simulated=True)
        self._thread = threading.Thread(target=lambda: self.result.append(self._made.run(self.stop)))
        self._thread.start()

    def done(self) -> "enrollment.Identity | None":
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self.result[0]


def test_a_device_introduces_itself_and_is_let_in(settings, server):
    identity = Boot(settings).done()

    nonce, request = server.enrollments[0]
    assert identity.device_id == "d-1"
    assert (nonce, request.secret) == (identity.nonce, identity.secret)
    assert (request.token, request.name, request.simulated) == (TOKEN, "line-3", True)
    assert request.tags == ("site=berlin",)
    assert request.hardware == HARDWARE
    assert len(request.secret) >= 43  # 256 bits
    assert enrollment.read(settings.data) == identity


def test_only_its_owner_can_read_the_identity(settings, server):
    Boot(settings).done()

    assert (settings.data / enrollment.FILE).stat().st_mode & 0o077 == 0


def test_it_waits_until_a_person_lets_it_in(settings, server, quick):
    server.answer_enrollment = lambda _: EnrollReply(status="pending", reason="an operator has to accept it")
    boot = Boot(settings)
    wait_for("a second question", lambda: len(server.enrollments) >= 2)
    server.answer_enrollment = lambda _: EnrollReply(status="accepted", device_id="d-7")

    assert boot.done().device_id == "d-7"
    assert len({(nonce, request.secret) for nonce, request in server.enrollments}) == 1


@pytest.mark.parametrize("status", ["pending", "rejected"])
def test_an_answer_is_not_followed_by_the_next_question_at_once(settings, server, monkeypatch, status):
    monkeypatch.setattr(enrollment, "PATIENCE", {"none": (0.4, 0.4), "pending": (0.4, 0.4), "other": (0.4, 0.4)})
    asked = []
    server.answer_enrollment = lambda _: (asked.append(time.monotonic()), EnrollReply(status=status))[1]
    boot = Boot(settings)
    wait_for("five questions", lambda: len(asked) >= 5)
    boot.stop.set()
    boot.done()

    assert all(later - earlier > 0.15 for earlier, later in itertools.pairwise(asked))


def test_it_hears_at_once_that_a_person_let_it_in(settings, server):
    server.answer_enrollment = lambda _: EnrollReply(status="pending")
    boot = Boot(settings)  # with its usual patience, the next question would come after seconds
    wait_for("a question", lambda: server.enrollments)
    reply = codec.encode(EnrollReply(status="accepted", device_id="d-7"))
    server.publish(topics.enroll_reply(server.enrollments[0][0]), reply)

    assert boot.done().device_id == "d-7"
    assert len(server.enrollments) == 1


def test_turned_away_it_says_why_and_asks_again(settings, server, quick, caplog):
    server.answer_enrollment = lambda _: EnrollReply(status="rejected", reason="the enrollment token has expired")
    boot = Boot(settings)
    wait_for("a second question", lambda: len(server.enrollments) >= 2)
    assert "rejected: the enrollment token has expired" in caplog.text

    server.answer_enrollment = lambda _: EnrollReply(status="accepted", device_id="d-7")
    assert boot.done().device_id == "d-7"


def test_after_a_power_cut_it_asks_the_same_again(settings, server, quick):
    server.answer_enrollment = lambda _: EnrollReply(status="pending")
    first = Boot(settings)
    wait_for("a question", lambda: server.enrollments)
    first.stop.set()
    assert first.done() is None

    server.answer_enrollment = lambda _: EnrollReply(status="accepted", device_id="d-7")
    Boot(settings).done()
    assert len({(nonce, request.secret) for nonce, request in server.enrollments}) == 1


def test_the_secret_is_on_the_disk_before_it_is_sent(settings, server):
    stored = []
    server.answer_enrollment = lambda request: (
        stored.append(json.loads((settings.data / enrollment.FILE).read_text())["secret"] == request.secret),
        EnrollReply(status="accepted", device_id="d-1"),
    )[1]
    Boot(settings).done()

    assert stored == [True]


def test_a_device_id_that_could_be_a_topic_is_not_taken(settings, server, quick):
    server.answer_enrollment = lambda _: EnrollReply(status="accepted", device_id="d/#")
    boot = Boot(settings)
    wait_for("another question", lambda: len(server.enrollments) >= 2)
    boot.stop.set()

    assert boot.done() is None


def test_without_a_token_it_says_where_to_get_one(settings):
    without = config.build({"server": "mqtt://h", "data": str(settings.data)})
    with pytest.raises(ConfigError, match="Make one on the server's page"):
        Enrollment(without, enrollment.read_or_make(settings.data), HARDWARE, simulated=False)


def test_a_damaged_identity_is_not_replaced_silently(settings):
    (settings.data / enrollment.FILE).write_text("{")

    with pytest.raises(ConfigError, match="cannot be read"):
        enrollment.read_or_make(settings.data)
