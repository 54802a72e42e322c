"""A program is in control of a rollout as a person is."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from fleet.accounts.roles import Role
from fleet.devices.models import Device, Group
from fleet.rollouts import tasks
from fleet.rollouts.models import Deployment
from tests.conftest import make_device
from tests.fleet.builders import make_release

pytestmark = pytest.mark.django_db


@pytest.fixture
def group():
    group = Group.objects.create(name="berlin")
    now = timezone.now() + timedelta(hours=1)
    group.devices.set([make_device(online=True, last_seen=now, sample_at=now) for _ in range(10)])
    return group


@pytest.fixture
def ask(client, operator, bearer):
    """`ask("POST", "/rollouts", {...})` → (status, body), by default as an operator."""

    def asked(method: str, path: str, body=None, by=operator):
        answer = client.generic(
            method,
            f"/api{path}",
            data=None if body is None else json.dumps(body),
            content_type="application/json",
            **bearer(by),
        )
        return answer.status_code, answer.json() if answer.content else None

    return asked


def wish(**more) -> dict:
    return {"release": make_release().pk, "group": "berlin", **more}


def test_phases_and_terms_are_given_and_read_back(ask, group):
    body = wish(
        phases=[
            {"devices": 1, "soak_seconds": 600, "latency_rise_percent": 20, "on_error": "roll_back"},
            {"percent": 10, "success_percent": 95, "failures_percent": None},
            {"percent": 100},
        ],
        most_in_flight=50,
        devices_per_minute=30,
        window={"start": "22:00", "end": "04:00", "days": ["mon", "fri"]},
        time_zone="Europe/Berlin",
        only_idle=True,
        continuous=True,
        starts_at="2099-01-01T12:00:00+01:00",
    )
    status, made = ask("POST", "/rollouts", body)
    assert (status, made["state"], made["phase"]) == (201, "scheduled", 1)
    first, second, third = made["phases"]
    assert (first["devices"], first["soak_seconds"], first["latency_rise_percent"]) == (1, 600, 20)
    assert (first["on_error"], first["state"], first["counts"]) == ("roll_back", "waiting", {"queued": 1})
    assert (second["percent"], second["success_percent"], second["failures_percent"]) == (10, 95, None)
    assert third["counts"] == {"queued": 9}
    assert made["window"] == {"start": "22:00:00", "end": "04:00:00", "days": ["mon", "fri"]}
    assert (made["most_in_flight"], made["devices_per_minute"], made["time_zone"]) == (50, 30, "Europe/Berlin")
    assert (made["only_idle"], made["continuous"], made["starts_at"]) == (True, True, "2099-01-01T11:00:00Z")
    status, begun = ask("POST", f"/rollouts/{made['id']}/start")
    assert (status, begun["state"]) == (200, "running")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"phases": [{"percent": 10}]}, "The last phase goes to all devices: 100 percent."),
        ({"preset": "canary", "phases": [{"percent": 100}]}, "Name a preset or phases, not both."),
        ({"time_zone": "Berlin"}, "There is no time zone called 'Berlin'"),
        ({"window": {"start": "22:00Z", "end": "23:00Z"}}, "A window's times have no time zone"),
        ({"starts_at": "2020-01-01T00:00:00Z"}, "The start lies in the past."),
        ({"deadline_seconds": 5}, "between one minute and one year"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(ask, group, more, said):
    status, answer = ask("POST", "/rollouts", wish(**more))
    assert status == 409
    assert said in answer["detail"]


def test_a_rollout_is_steered_through_its_life(ask, group, admin):
    _, made = ask("POST", "/rollouts", wish(preset="canary", on_error="abort", needs_approval=True))
    here = f"/rollouts/{made['id']}"
    assert (made["state"], {phase["on_error"] for phase in made["phases"]}) == ("draft", {"abort"})
    assert ask("POST", f"{here}/approve")[0] == 409
    status, approved = ask("POST", f"{here}/approve", by=admin)
    assert (status, approved["state"], approved["approved_by"]) == (200, "running", admin.username)
    assert ask("POST", f"{here}/pause")[1]["state"] == "paused"
    assert ask("POST", f"{here}/resume")[1]["state"] == "running"
    assert ask("POST", f"{here}/next")[1]["phase"] == 3, "a tenth of ten was the canary: that phase has nobody"
    assert ask("POST", f"{here}/roll-back")[0] == 409, "nobody runs it yet"
    row = Deployment.objects.select_related("variant").filter(state="notified").first()
    Deployment.objects.filter(pk=row.pk).update(state="active", previous_manifest=row.variant.manifest_digest)
    Device.objects.filter(pk=row.device_id).update(active_manifest=row.variant.manifest_digest)
    status, undoing = ask("POST", f"{here}/roll-back")
    assert (status, undoing["undoes"], undoing["counts"]) == (201, made["id"], {"notified": 1})
    assert ask("GET", here)[1]["state"] == "aborted"


def test_what_holds_it_is_said(ask, group):
    _, made = ask("POST", "/rollouts", wish(preset="canary"))
    here = f"/rollouts/{made['id']}"
    _, told = ask("GET", f"{here}/progress")
    assert told["decision"] == "0 of 1 device took it; 1 have to."
    assert {why["reason"]: why["count"] for why in told["waits"]} == {
        "Waiting for phase 3.": 9,
        "Told the device; waiting for it to begin.": 1,
    }
    assert all(why["next"] and why["advice"] for why in told["waits"])
    assert (told["per_minute"], told["seconds_left"]) == (None, None)
    _, page = ask("GET", f"{here}/deployments?phase=3")
    row = page["items"][0]
    assert (page["count"], row["phase"], row["waiting"]) == (9, 3, "Waiting for phase 3.")
    assert row["advice"].startswith("Look at the phase that is open")


def test_throughput_and_time_left_are_of_the_last_minutes(ask, group):
    _, made = ask("POST", "/rollouts", wish())
    now = timezone.now()
    rows = list(Deployment.objects.values_list("pk", flat=True)[:4])
    Deployment.objects.filter(pk__in=rows).update(
        state="active", told_at=now - timedelta(minutes=2), finished_at=now - timedelta(minutes=1)
    )
    Deployment.objects.exclude(pk__in=rows).update(told_at=now - timedelta(minutes=2))
    _, told = ask("GET", f"/rollouts/{made['id']}/progress")
    assert told["per_minute"] == pytest.approx(2, rel=0.05)
    assert told["seconds_left"] == pytest.approx(180, rel=0.05)


def test_an_estimate_counts_bytes_and_time_and_starts_nothing(ask, group):
    body = wish(preset="half", devices_per_minute=10)
    status, found = ask("POST", "/rollouts/estimate", body)
    assert (status, found["bytes_once"], found["bytes_each"]) == (200, 2_006_000, 20_060_000)
    # Two halves: five devices each at ten a minute, and a soak of half an hour after the first.
    assert found["seconds"] == pytest.approx(2 * (30 + 75) + 1800)
    assert not found["known"]
    assert not Deployment.objects.exists()


def test_devices_are_pinned_and_have_time_zones(ask, group, people):
    device = group.devices.first()
    status, changed = ask("PATCH", f"/devices/{device.pk}", {"pinned": "calibration", "time_zone": "Asia/Tokyo"})
    assert (status, changed["pinned"], changed["time_zone"]) == (200, "calibration", "Asia/Tokyo")
    assert ask("PATCH", f"/devices/{device.pk}", {"pinned": ""})[1]["pinned"] == ""
    assert ask("PUT", "/groups/berlin/time-zone", {"time_zone": "Europe/Berlin"}) == (200, {"changed": 10})
    assert ask("PUT", "/groups/berlin/time-zone", {"time_zone": "Mars"})[0] == 409
    assert ask("PUT", "/groups/berlin/time-zone", {"time_zone": ""}, by=people[Role.VIEWER])[0] == 403


def test_a_list_of_rollouts_asks_as_often_for_ten_as_for_one(ask, group, django_assert_max_num_queries):
    body = wish(preset="careful")
    for _ in range(4):
        ask("POST", "/rollouts", body)
        tasks.tick()
    with django_assert_max_num_queries(10):
        assert len(ask("GET", "/rollouts")[1]["items"]) == 4
