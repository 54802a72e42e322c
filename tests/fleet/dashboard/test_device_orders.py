"""Orders to one device: its name, its settings, and what is done to it."""

import pytest

from fleet.audit.models import Event
from fleet.devices import services
from fleet.devices.models import Device
from tests.fleet.builders import make_variant, make_version
from tests.fleet.dashboard.device_page import page


def test_a_device_is_renamed(operating, device):
    answer = operating.post(f"/devices/{device.pk}/rename", {"name": "bench 3"}, headers={"HX-Request": "true"})
    assert answer.headers["HX-Redirect"] == f"/devices/{device.pk}"
    device.refresh_from_db()
    assert device.name == "bench 3"


@pytest.mark.parametrize("name", ["", "   ", "x" * 129])
def test_a_bad_name_is_said_beside_the_field_and_kept(operating, device, name):
    answer = operating.post(f"/devices/{device.pk}/rename", {"name": name}, headers={"HX-Request": "true"})
    assert answer.status_code == 422
    assert "<html" not in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert 'id="id_name-error"' in answer.text
    assert name.strip() in answer.text


def test_without_scripts_a_bad_form_is_a_page_of_its_own(operating, device):
    answer = operating.post(
        f"/devices/{device.pk}/config", {"telemetry_interval": "0", "watch_seconds": "60", "mode": "full"}
    )
    assert answer.status_code == 422
    assert "<html" in answer.text
    assert "Ensure this value is greater than or equal to 1." in answer.text
    assert 'value="0"' in answer.text


def test_the_settings_form_shows_what_the_device_is_told_now(operating, device, operator):
    assert 'name="telemetry_interval" value="5' in operating.get(f"/devices/{device.pk}").text, "the default"
    services.set_config(device, {"watch_seconds": 7}, operator)
    assert 'name="watch_seconds" value="7' in operating.get(f"/devices/{device.pk}").text


def test_settings_are_sent_to_the_device(operating, device):
    given = {"telemetry_interval": "20", "watch_seconds": "30", "mode": "slim", "device_class": "mobile"}
    assert operating.post(f"/devices/{device.pk}/config", given).status_code == 302
    device.refresh_from_db()
    assert device.config == {
        "telemetry_interval": 20.0,
        "watch_seconds": 30.0,
        "mode": "slim",
        "device_class": "mobile",
        "transfer_rate": 0,
        **dict.fromkeys(("preprocess_budget", "compute_budget", "total_budget", "bandwidth_budget"), 0),
        "cpu_budget": 0,
        "power_budget": 0,
        "temperature_budget": 0,
    }
    assert device.config_version == 1


def test_the_log_says_what_was_changed_in_the_words_of_the_page(operating, device):
    given = {"telemetry_interval": "5", "watch_seconds": "150", "mode": "slim", "device_class": "edge_server"}
    operating.post(f"/devices/{device.pk}/config", given)
    operating.post(f"/devices/{device.pk}/config", {**given, "watch_seconds": "7200", "device_class": ""})
    slow = {**given, "watch_seconds": "7200", "device_class": "", "transfer_rate": "0.05"}
    operating.post(f"/devices/{device.pk}/config", slow)
    name = f"Settings of {device.name}"
    assert list(Event.objects.filter(kind="device.config").order_by("id").values_list("text", flat=True)) == [
        f"{name}: mode slim, class edge server, watched for 2 min 30 s after an update",
        f"{name}: class as detected, watched for 2 h after an update",
        f"{name}: downloads at most 50 kB a second",
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", "turbo"),
        ("device_class", "toaster"),
        ("watch_seconds", "-1"),
        ("telemetry_interval", "nan"),
        ("watch_seconds", ""),
    ],
)
def test_a_setting_out_of_range_is_not_sent(operating, device, field, value):
    given = {"telemetry_interval": "20", "watch_seconds": "30", "mode": "slim", field: value}
    answer = operating.post(f"/devices/{device.pk}/config", given, headers={"HX-Request": "true"})
    assert answer.status_code == 422
    device.refresh_from_db()
    assert device.config == {}


def test_a_ping_is_a_command_on_the_page(operating, device):
    answer = operating.post(f"/devices/{device.pk}/ping", follow=True)
    assert f"{device.name} was asked to answer; see Commands." in answer.text
    command = device.commands.get()
    assert (command.kind, command.state) == ("ping", "sent")
    answer = operating.post(f"/devices/{device.pk}/commands/{command.pk}/cancel", follow=True)
    assert "The ping is no longer waited for." in answer.text


def test_what_is_refused_is_said_on_the_page(operating, device):
    answer = operating.post(f"/devices/{device.pk}/reoptimize", follow=True)
    assert f"{device.name} runs no variant yet; roll a release out to it first." in answer.text
    assert 'role="alert"' in answer.text


def test_reoptimizing_leads_to_its_job(operating, device):
    Device.objects.update(active_manifest=make_variant(make_version(), "embedded").manifest_digest)
    answer = operating.post(f"/devices/{device.pk}/reoptimize")
    assert answer.url == f"/jobs/{device.jobs.get().pk}"


def test_a_pending_device_is_accepted_or_rejected(operating, device):
    Device.objects.update(admission="pending")
    assert "Accept</button>" in page(operating, device)
    operating.post(f"/devices/{device.pk}/admit", {"do": "reject"})
    device.refresh_from_db()
    assert device.admission == "rejected"
    operating.post(f"/devices/{device.pk}/admit", {"do": "accept"})
    device.refresh_from_db()
    assert device.admission == "accepted"


def test_retiring_needs_the_name_and_happens_once(managing, device):
    assert "In step" in managing.get(f"/devices/{device.pk}").text
    answer = managing.post(f"/devices/{device.pk}/retire", {"confirm": "yes"}, follow=True)
    assert "type its name to confirm" in answer.text
    device.refresh_from_db()
    assert device.retired_at is None
    answer = managing.post(f"/devices/{device.pk}/retire", {"confirm": device.name}, follow=True)
    assert "its login no longer works" in answer.text
    assert "Retired" in answer.text
    assert "In step" not in answer.text
    answer = managing.post(f"/devices/{device.pk}/retire", {"confirm": device.name}, follow=True)
    assert "was already retired" in answer.text


def test_a_device_is_pinned_and_has_a_time_zone(operating, device):
    answer = operating.post(
        f"/devices/{device.pk}/maintenance", {"time_zone": "Europe/Berlin", "pinned": "calibration"}, follow=True
    )
    device.refresh_from_db()
    assert (device.time_zone, device.pinned) == ("Europe/Berlin", "calibration")
    assert ">Pinned</span>" in answer.text
    operating.post(f"/devices/{device.pk}/maintenance", {"time_zone": "", "pinned": ""})
    device.refresh_from_db()
    assert (device.time_zone, device.pinned) == ("", "")
    refused = operating.post(f"/devices/{device.pk}/maintenance", {"time_zone": "Mars", "pinned": "x"})
    assert refused.status_code == 422 and "There is no time zone called" in refused.text
    device.refresh_from_db()
    assert device.pinned == ""
