"""The event log, and the palette that finds anything."""

import re

import pytest

from fleet.audit.models import Event
from fleet.audit.services import record
from fleet.catalog.models import Model
from fleet.devices.models import Device, Group
from fleet.rollouts.models import Rollout
from tests.conftest import make_device
from tests.fleet.builders import make_release
from tests.fleet.dashboard.support import SampleFleet


@pytest.fixture
def log(db, operator, device):
    record("device.renamed", "cam is now called arm", actor=operator, device=device)
    record("rollout.failed", "it went wrong", level="bad", detail="out of space")
    record("job.queued", "something was queued")


def texts(answer) -> list[str]:
    return re.findall(r'class="sr">[^<]*</span>\s*([^<>]+?)\s*</p>', answer.text)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["something was queued", "it went wrong", "cam is now called arm"]),
        ("kind=device", ["cam is now called arm"]),
        ("level=bad", ["it went wrong"]),
        ("q=SPACE", ["it went wrong"]),
        ("q=operator-person", ["cam is now called arm"]),
        ("kind=nonsense&level=awful&before=x", ["something was queued", "it went wrong", "cam is now called arm"]),
        ("q=%00&kind=rollout", ["it went wrong"]),
    ],
)
def test_events_are_filtered(viewer, log, query, found):
    Event.objects.filter(kind__startswith="person").delete()
    assert texts(viewer.get(f"/events?{query}")) == found


def test_a_filter_without_a_match_says_so(viewer, log):
    assert "No event matches" in viewer.get("/events?q=nothing-like-it").text


def test_a_device_is_found_by_its_name(viewer, log, device):
    answer = viewer.get(f"/events?q={device.name}")
    assert texts(answer) == ["cam is now called arm"]
    assert f'href="/devices/{device.pk}"' in answer.text


def test_older_events_follow_without_gap_or_repetition(viewer, db):
    Event.objects.all().delete()
    Event.objects.bulk_create(Event(kind="job.queued", text=f"event {number:03}") for number in range(230))
    seen, address = [], "/events?kind=job"
    for _ in range(3):
        answer = viewer.get(address)
        seen += re.findall(r"event \d{3}", answer.text)
        record("job.queued", "came meanwhile")  # rows are added while somebody reads
        older = re.search(r'href="(\?[^"]*before=\d+)"', answer.text)
        address = "/events" + older[1].replace("&amp;", "&") if older else None
    assert address is None
    assert seen == [f"event {number:03}" for number in reversed(range(230))]


# --- Palette --------------------------------------------------------------------------------------------------------


def test_the_palette_finds_devices_models_rollouts_and_groups(viewer, operator):
    fleet = SampleFleet(12)
    fleet.fill(operator)
    Device.objects.filter(pk=fleet.devices[0].pk).update(name="table 9")
    Group.objects.create(name="stable")
    found = viewer.get("/find?q=tabl").json()["found"]
    assert [hit["detail"].partition(",")[0] for hit in found] == ["device", "model", "rollout", "rollout", "group"]
    for hit in found:
        assert viewer.get(hit["url"]).status_code == 200, hit


@pytest.mark.parametrize("query", ["r-{:04}", "r-{}", "{}", "r{}"])
def test_a_rollout_is_found_by_its_number(viewer, operator, query):
    SampleFleet(12).fill(operator)
    number = Rollout.objects.latest("pk").pk
    found = viewer.get(f"/find?q={query.format(number)}").json()["found"]
    assert any(hit["url"] == f"/rollouts/{number}" for hit in found)


@pytest.mark.parametrize("query", ["%00", "%25", "_", "'; DROP TABLE", "x" * 2000, "r-99999999999999999999"])
def test_a_hostile_search_finds_nothing_and_breaks_nothing(viewer, device, query):
    answer = viewer.get(f"/find?q={query}")
    assert answer.status_code == 200
    assert not [hit for hit in answer.json()["found"] if hit["detail"].startswith("device")]


def test_retired_devices_are_not_offered(viewer, device):
    Device.objects.update(retired_at=device.created_at)
    assert viewer.get(f"/find?q={device.name}").json()["found"] == []


def test_without_a_word_the_newest_rollouts_are_offered(viewer, db):
    make_release()
    make_device()
    found = viewer.get("/find").json()["found"]
    assert [hit["label"] for hit in found] == list(Model.objects.values_list("name", flat=True))
