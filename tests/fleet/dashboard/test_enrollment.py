"""Enrollment: tokens whose text is shown once, and devices that wait at the door."""

import re
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone

from fleet.dashboard.selectors.enrollment import broker_address
from fleet.devices import credentials
from fleet.devices.models import Device, EnrollmentToken, Group
from tests.conftest import make_device

ANYWHERE = "0.0.0.0"  # noqa: S104  # an address that a setting may have; nothing listens here
GIVEN = {"name": "benches", "max_uses": "12", "expires": "24", "auto_accept": "on"}


def test_the_text_of_a_token_is_shown_once_with_the_whole_command(managing, settings):
    group = Group.objects.create(name="hall")
    answer = managing.post("/enrollment/new", {**GIVEN, "group": group.pk})
    command = re.search(r"edge-agent run --server (\S+) --token (\S+)</pre>", answer.text)
    assert command[1] == f"mqtt://127.0.0.1:{settings.MQTT_PORT}"
    token = EnrollmentToken.objects.get()
    name, _, secret = command[2].partition(".")
    assert name == token.pk
    assert credentials.matches(secret, bytes(token.salt), bytes(token.digest))
    assert (token.max_uses, token.auto_accept, token.group) == (12, True, group)
    assert timedelta(hours=23) < token.expires_at - timezone.now() < timedelta(hours=25)
    assert "no-store" in answer.headers["Cache-Control"]
    assert secret not in managing.get("/enrollment").text


def test_a_tokens_tags_are_typed_as_a_devices_are_and_shown_in_the_list(managing):
    managing.post("/enrollment/new", {**GIVEN, "tags": "Site=Berlin, spare"})
    assert EnrollmentToken.objects.get().tags == {"site": "berlin", "spare": ""}
    assert 'title="site=berlin, spare">site=berlin, …</span>' in managing.get("/enrollment").text
    answer = managing.post("/enrollment/new", {**GIVEN, "tags": "a=b=c"})
    assert answer.status_code == 422
    assert "“a=b=c” is no tag" in answer.text


def test_a_token_without_an_end_never_ends(managing):
    managing.post("/enrollment/new", {**GIVEN, "expires": ""})
    assert EnrollmentToken.objects.get().expires_at is None


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("name", "", "This field is required."),
        ("name", "   ", "This field is required."),
        ("max_uses", "0", "greater than or equal to 1"),
        ("max_uses", "many", "Enter a whole number."),
        ("max_uses", "99999999", "less than or equal to 1000000"),
        ("expires", "forever", "Select a valid choice."),
        ("group", "77", "Select a valid choice."),
    ],
)
def test_a_bad_token_is_said_beside_its_field_and_nothing_is_lost(managing, field, value, says):
    answer = managing.post("/enrollment/new", {**GIVEN, field: value})
    assert answer.status_code == 422
    assert says in answer.text
    assert f'id="id_{field}-error"' in answer.text
    if field != "name":
        assert 'value="benches"' in answer.text
    assert not EnrollmentToken.objects.exists()


def test_a_revoked_token_says_so_and_stays_in_the_list(managing):
    managing.post("/enrollment/new", GIVEN)
    token = EnrollmentToken.objects.get()
    answer = managing.post(f"/enrollment/{token.pk}/revoke", follow=True)
    assert "Nobody can enroll with benches any more" in answer.text
    assert "Revoked</span>" in answer.text
    answer = managing.post(f"/enrollment/{token.pk}/revoke", follow=True)
    assert "This token was already revoked." in answer.text


def test_the_list_says_why_a_token_no_longer_works(viewer, db):
    common = {"salt": b"", "digest": b""}
    EnrollmentToken.objects.create(name="full", uses=3, max_uses=3, **common)
    EnrollmentToken.objects.create(name="late", expires_at=timezone.now() - timedelta(hours=1), **common)
    text = viewer.get("/enrollment").text
    assert "Used up</span>" in text
    assert "the enrollment token was used 3 times, its limit is 3" in text
    assert "Ended</span>" in text


def test_only_admins_are_offered_tokens(operating, managing, viewer):
    assert "Make a token" in managing.get("/enrollment").text
    assert "Make a token" not in operating.get("/enrollment").text
    assert operating.post("/enrollment/new", GIVEN).status_code == 403


def test_waiting_devices_are_listed_and_let_in_from_there(operating, db):
    device = make_device(name="stranger", admission="pending")
    text = operating.get("/enrollment").text
    assert "stranger" in text
    assert "1 device</span>" in text
    operating.post("/devices/together", {"one": f"accept {device.pk}", "next": "/enrollment"})
    assert Device.objects.get().admission == "accepted"
    assert "appear here as soon as they introduce themselves" in operating.get("/enrollment").text


@pytest.mark.parametrize(
    ("given", "host", "url", "local"),
    [
        ({}, "fleet.example:8000", "mqtt://127.0.0.1:1883", True),
        ({"MQTT_BIND": ANYWHERE}, "fleet.example:8000", "mqtt://fleet.example:1883", False),
        (
            {"MQTT_BIND": ANYWHERE, "MQTT_TLS": True},
            "fleet.example",
            "mqtts://fleet.example:1883",
            False,
        ),
        ({"MQTT_BIND": ANYWHERE}, "[2001:db8::1]:8000", "mqtt://[2001:db8::1]:1883", False),
        ({"MQTT_BROKER": "external", "MQTT_HOST": "broker"}, "fleet.example", "mqtt://broker:1883", False),
    ],
)
def test_devices_are_told_an_address_that_they_can_reach(given, host, url, local):
    usual = {
        "MQTT_BROKER": "embedded",
        "MQTT_HOST": "127.0.0.1",
        "MQTT_BIND": "127.0.0.1",
        "MQTT_PORT": 1883,
        "MQTT_TLS": False,
    }
    address = broker_address(host, SimpleNamespace(**{**usual, **given}))
    assert (address.url, address.local_only) == (url, local)
