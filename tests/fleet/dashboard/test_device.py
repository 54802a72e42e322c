"""One device: what it reported against what it should be, its charts, and the orders it takes."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from agent.wire.states import Deployment as State
from fleet.audit.models import Event
from fleet.dashboard.selectors.device import phases
from fleet.dashboard.selectors.series import COLUMNS, series
from fleet.dashboard.series import RANGES
from fleet.devices import services
from fleet.devices.models import Device
from fleet.rollouts.models import Deployment
from fleet.telemetry.models import Sample
from tests.conftest import make_device
from tests.fleet.builders import make_variant, make_version


def samples(device, start: datetime, count: int, every: float = 5, **given) -> None:
    Sample.objects.bulk_create(
        Sample(
            device=device,
            at=start + timedelta(seconds=every * number),
            received_at=start,
            boot_id="b-1",
            seq=number,
            interval=every,
            **{"decisions": 10, "latency_p50": 40.0, "latency_p95": 60.0, **given},
        )
        for number in range(count)
    )


def page(client, device) -> str:
    return re.sub(r"\s+", " ", client.get(f"/devices/{device.pk}").text)


def test_memory_and_storage_count_alike(viewer, device):
    gib = 1024**3
    device.hardware |= {"cores": 12.0, "memory_bytes": 4 * gib, "storage_bytes": 32 * gib}
    device.save()
    text = page(viewer, device)
    for name, said in (("Cores", "12"), ("Memory", "4 GiB"), ("Storage", "32 GiB")):
        assert re.search(rf"<dt>{name}</dt> <dd> ?{said} ?</dd>", text), name


# --- Reported against desired ---------------------------------------------------------------------------------------


def test_a_device_in_step_says_so(viewer, device):
    assert "In step" in page(viewer, device)


def test_a_setting_that_was_not_confirmed_yet_differs(operating, device, operator):
    services.set_config(device, {"telemetry_interval": 30, "mode": "slim"}, operator)
    text = page(operating, device)
    assert "5 differ</span>" in text  # both settings, the one that came with them unchanged, and their number
    assert "not confirmed yet" in text
    assert "<ins>30 s</ins>" in text
    assert "<ins>slim</ins>" in text


def test_a_model_that_is_still_on_its_way_differs(viewer, device):
    old, new = (make_variant(make_version("arm", number), "embedded", f"fp16-{number}") for number in (1, 2))
    Device.objects.update(active_manifest=old.manifest_digest, desired_manifest=new.manifest_digest)
    text = page(viewer, device)
    assert "1 differs" in text
    assert "arm@1 fp16-1" in text
    assert "arm@2 fp16-2</a></ins>" in text


def test_an_artifact_that_nobody_knows_is_named_by_its_digest(viewer, device):
    Device.objects.update(active_manifest="cd" * 32)
    assert "unknown artifact cdcdcdcdcdcd" in page(viewer, device)


# --- Where it stands ------------------------------------------------------------------------------------------------


def test_the_steps_of_an_update_are_done_now_or_ahead():
    found = phases(Deployment(state=State.SELF_TESTING, progress=0.5, step="golden observation 4 of 8"))
    assert [(phase.name, phase.state) for phase in found] == [
        ("Waiting", "done"),
        ("Download", "done"),
        ("Verify and install", "done"),
        ("Self-test", "now"),
        ("Watch", "todo"),
    ]
    assert (found[3].share, found[3].detail) == (0.5, "golden observation 4 of 8")


@pytest.mark.parametrize(
    "state", [state for state in State if state.value in ("queued", "notified", "verified", "watching")]
)
def test_every_open_state_has_its_step(state):
    assert [phase.state for phase in phases(Deployment(state=state))].count("now") == 1


def test_the_time_of_a_decision_is_weighed_by_how_many_there_were(viewer, device):
    now = timezone.now()
    stages = {"stage_queue": 1.0, "stage_preprocess": 2.0, "stage_postprocess": 1.0}
    samples(device, now - timedelta(minutes=5), 1, decisions=90, stage_compute=10.0, **stages)
    Sample.objects.create(
        device=device, at=now, received_at=now, boot_id="b-2", seq=0, decisions=10, stage_compute=110.0, **stages
    )
    text = page(viewer, device)
    assert "100 decisions" in text
    assert re.search(r"<span>compute</span> <b class=\"num\">20.ms</b> <span class=\"num muted\">83.%", text)


def test_without_timed_decisions_the_page_says_so(viewer, device):
    assert "Not reported: no decision was timed in the last 15 minutes." in page(viewer, device)


# --- Charts ---------------------------------------------------------------------------------------------------------


def test_a_range_is_averaged_into_points_of_equal_length(device):
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    samples(device, now - timedelta(hours=1), 720)
    Sample.objects.filter(seq=100).update(latency_p95=180.0, decisions=0, latency_p50=None)
    found = series(device.pk, RANGES["1h"], now)
    columns = found["columns"]
    assert set(columns) == {"at", *COLUMNS}
    assert len(columns["at"]) == 360
    assert columns["at"] == sorted(columns["at"])
    assert {value for value in columns["latency_p50"] if value} == {40.0}
    assert max(columns["latency_p95"]) == 180.0, "an average would hide what broke the promise"
    assert set(columns["rate"]) >= {2.0}
    assert found["power_source"] == ""


@pytest.mark.parametrize("key", RANGES)
def test_no_range_draws_more_than_600_points(device, key):
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    chosen = RANGES[key]
    samples(device, now - timedelta(seconds=chosen.span), 2400, every=chosen.span / 2400)
    points = series(device.pk, chosen, now)["columns"]["at"]
    assert 200 <= len(points) <= 601
    assert all(point % (chosen.bucket * 1000) == 0 for point in points)


def test_later_points_are_asked_for_from_the_last_one_on(viewer, device):
    start = timezone.now() - timedelta(minutes=10)
    samples(device, start, 100)
    whole = viewer.get(f"/devices/{device.pk}/series?range=1h").json()
    last = whole["columns"]["at"][-1]
    Sample.objects.create(
        device=device, at=timezone.now(), received_at=start, boot_id="b-9", seq=1, decisions=10, latency_p50=80.0
    )
    more = viewer.get(f"/devices/{device.pk}/series?range=1h&since={last}").json()
    assert whole["full"]
    assert not more["full"]
    assert more["columns"]["at"][0] == last, "its bucket may have been half full"
    assert more["columns"]["latency_p50"][-1] == 80.0
    assert len(more["columns"]["at"]) < 20


def test_success_is_a_rate_over_some_minutes(device):
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    samples(device, now - timedelta(hours=1), 720, episodes=1, successes=1)
    Sample.objects.filter(seq__gte=700).update(successes=0)
    success = series(device.pk, RANGES["1h"], now)["columns"]["success"]
    assert success[0] == 1.0
    assert 0.6 < success[-1] < 0.7  # 20 of the 60 episodes in the last 5 minutes failed


def test_power_is_never_shown_without_its_source(device):
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    samples(device, now - timedelta(minutes=10), 60, power=4.0, power_source="estimated")
    assert series(device.pk, RANGES["15m"], now)["power_source"] == "estimated"
    Sample.objects.filter(seq__gte=30).update(power_source="measured")
    assert series(device.pk, RANGES["15m"], now)["power_source"] == "measured and estimated"


def test_other_devices_and_times_are_not_in_the_chart(viewer, device):
    samples(make_device(), timezone.now() - timedelta(minutes=5), 10)
    samples(device, timezone.now() - timedelta(days=9), 10)
    assert viewer.get(f"/devices/{device.pk}/series?range=7d").json()["columns"]["at"] == []


@pytest.mark.parametrize(
    "query", ["range=century", "since=-5", "since=1e9", "since=99999999999999999", "since=%00", "range="]
)
def test_a_hostile_range_is_the_usual_one(viewer, device, query):
    answer = viewer.get(f"/devices/{device.pk}/series?{query}")
    assert answer.status_code == 200
    assert answer.json()["span"] == 3600


# --- Orders ---------------------------------------------------------------------------------------------------------


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
    }
    assert device.config_version == 1


def test_the_log_says_what_was_changed_in_the_words_of_the_page(operating, device):
    given = {"telemetry_interval": "5", "watch_seconds": "150", "mode": "slim", "device_class": "edge_server"}
    operating.post(f"/devices/{device.pk}/config", given)
    operating.post(f"/devices/{device.pk}/config", {**given, "watch_seconds": "7200", "device_class": ""})
    slow = {**given, "watch_seconds": "7200", "device_class": "", "transfer_rate": "50000"}
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
