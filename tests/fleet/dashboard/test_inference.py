"""The page of the server's inference, and a person's word before a device is set to hybrid."""

import json

import pytest
from django.utils import timezone

from fleet.audit.models import Event
from fleet.dashboard.selectors.device import settings_of
from fleet.devices import services
from fleet.devices.models import Device
from fleet.errors import Refused
from fleet.inference.metering import Meter, write
from tests.conftest import make_device

GIVEN = {"telemetry_interval": "5", "watch_seconds": "60", "mode": "hybrid"}


def used(device: str, answered: int = 0, quota: int = 0, milliseconds: float = 12.0) -> None:
    meter, now = Meter(), timezone.now()
    for _ in range(answered):
        meter.answered(device, 1000, 10, milliseconds, now)
    for _ in range(quota):
        meter.refused(device, "quota", 1000, now)
    write(meter.take())


def test_without_any_device_in_hybrid_mode_it_says_so(viewer):
    text = viewer.get("/inference").text
    assert "No device asked in the last day" in text
    assert "Nothing was refused." in text


def test_it_shows_who_asked_how_much_how_fast_and_what_was_refused(viewer, device):
    used(device.pk, answered=3, quota=2)
    used("", quota=0)
    text = viewer.get("/inference").text
    assert device.name in text
    assert "over quota" in text
    assert "95 % within 20 ms" in text
    assert "600 requests a minute" in text


def test_it_is_sorted_and_cut_into_pages(viewer):
    for number in range(60):
        used(make_device(name=f"arm-{number:02d}").pk, answered=number + 1)
    text = viewer.get("/inference").text
    assert "arm-59" in text and "arm-00" not in text
    assert "arm-00" in viewer.get("/inference?page=2").text
    assert "arm-00" in viewer.get("/inference?sort=requests").text
    assert viewer.get("/inference?sort=;drop&page=-1").status_code == 200


def test_a_part_of_it_alone_is_fetched_when_it_changes(viewer, device):
    used(device.pk, answered=1)
    part = viewer.get("/inference", headers={"HX-Request": "true", "HX-Target": "inference-list"}).text
    assert "<html" not in part
    assert device.name in part


def test_the_api_has_the_same(client, operator, bearer, device):
    used(device.pk, answered=3, quota=2)
    told = client.get("/api/inference", **bearer(operator)).json()
    assert (told["devices"], told["used"]["requests"], told["used"]["refused"]) == (1, 5, {"quota": 2})
    assert told["limits"]["device_requests_per_minute"] == 600
    (row,) = client.get("/api/inference/devices", **bearer(operator)).json()["items"]
    assert (row["device"], row["used"]["answered"], row["used"]["within_ms"]) == (device.pk, 3, 20)


# --- Hybrid mode ----------------------------------------------------------------------------------------------------


def test_a_device_is_set_to_hybrid_only_with_a_persons_word(operating, device):
    answer = operating.post(f"/devices/{device.pk}/config", GIVEN)
    assert answer.status_code == 422
    assert "Confirm that they may leave the device." in answer.text
    device.refresh_from_db()
    assert device.config == {}

    assert operating.post(f"/devices/{device.pk}/config", GIVEN | {"observations_leave": "on"}).status_code == 302
    device.refresh_from_db()
    assert device.config["mode"] == "hybrid"
    event = Event.objects.get(kind="device.config")
    assert (event.text, event.level) == (f"Settings of {device.name}: mode hybrid", "warn")
    assert event.detail == "Confirmed: observations of heavy requests leave the device for this server."
    assert event.actor is not None
    # What else is changed later needs no word again, and neither does the way back.
    assert operating.post(f"/devices/{device.pk}/config", GIVEN | {"watch_seconds": "61"}).status_code == 302
    assert operating.post(f"/devices/{device.pk}/config", GIVEN | {"mode": "full"}).status_code == 302


def test_a_program_gives_its_word_too(client, operator, bearer, device):
    def send(**more):
        body = json.dumps({"config": {"mode": "hybrid"}, **more})
        return client.patch(f"/api/devices/{device.pk}", body, "application/json", **bearer(operator))

    refused = send()
    assert (refused.status_code, "Confirm" in refused.json()["detail"]) == (409, True)
    assert send(confirmed=True).status_code == 200


def test_nobody_sets_a_device_to_hybrid_past_that(device, operator):
    with pytest.raises(Refused, match="what its camera sees"):
        services.set_config(device, {"mode": "hybrid"}, operator)


def test_a_device_that_knows_no_server_says_that_it_stays_what_it_is(device, operator):
    services.set_config(device, {"mode": "hybrid"}, operator, confirmed=True)
    Device.objects.update(reported_config_version=1, mode="full")
    device.refresh_from_db()
    mode = next(setting for setting in settings_of(device, {}) if setting.name == "Mode")
    assert mode.differs
    assert mode.reported == "full: its own settings name no server for inference"
