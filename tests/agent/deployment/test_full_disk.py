"""A disk that fills up in the middle of things."""

import pytest

from agent.deployment import machine
from agent.wire.messages import Config
from tests.agent.deployment.conftest import Device
from tests.agent.disks import fill, small_disk
from tests.agent.variants import variant
from tests.agent.waiting import wait_for

MIB = 1024**2


@pytest.fixture
def small(broker):
    """A device whose data folder is a disk of 40 MB, and the disk."""
    with small_disk("40m") as disk:
        made = Device(disk / "data", broker.port)
        yield made, disk
        made.stop()


def test_an_update_that_does_not_fit_is_refused_before_a_byte_is_fetched(server, small):
    there, _ = small
    made = variant(ballast=6 * MIB)
    server.offer(made)
    server.wish(made.digest, "p-1")

    assert "are free on this device" in server.ended("p-1", "rejected").reason
    assert server.wanted == []
    assert there.saved.active is None


def test_a_disk_that_fills_up_during_the_download_ends_it_and_leaves_no_rest(server, small):
    there, disk = small
    good, bad = variant(1.0), variant(2.0, ballast=2 * MIB, part_bytes=MIB)
    server.offer(good)
    server.wish(good.digest, "p-1")
    server.ended("p-1", "active")

    def fill_then_send(_digest, _number, data):
        fill(disk)
        return data

    server.spoil = fill_then_send
    server.offer(bad)
    server.wish(bad.digest, "p-2")

    assert "No space left on device" in server.ended("p-2", "failed").reason
    assert there.saved.active.manifest == good.digest
    assert list(there.data.joinpath("parts").iterdir()) == []


def test_a_wish_that_the_disk_does_not_take_is_taken_when_there_is_room(server, small, monkeypatch, caplog):
    monkeypatch.setattr(machine, "_PAUSE_SECONDS", 0.1)
    there, disk = small
    ballast = fill(disk)
    made = variant()
    server.offer(made)
    server.wish(made.digest, "p-1", Config(watch_seconds=0.1))
    wait_for("the trouble", lambda: "No space left on device" in caplog.text)
    assert there.saved.desired_version == -1
    ballast.unlink()

    server.ended("p-1", "active")
