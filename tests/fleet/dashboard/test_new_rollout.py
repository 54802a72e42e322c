"""A new rollout: previewed, planned in phases, estimated, started."""

import re

import pytest

from agent.wire.states import Deployment as State
from fleet.catalog.models import Release
from fleet.devices.models import Device, Group
from fleet.rollouts.models import Deployment, Rollout
from tests.conftest import make_device
from tests.fleet.builders import make_release, make_version
from tests.fleet.dashboard.rollout_page import flat


def asked(**more) -> dict:
    return {"deadline": "604800", **more}


def test_the_preview_judges_every_device_before_anything_happens(operating, hall, release):
    text = flat(operating.get(f"/rollouts/new?release={release.pk}&group=hall"))
    for verdict in ("2 to update", "1 runs it already", "1 too small", "1 without a variant", "5 accepted devices"):
        assert verdict in text
    assert "The release has no variant for edge server devices." in text
    assert "The update writes 3.8 MiB and leaves 32.0 MiB free; 0.0 MiB are free on this device." in text
    assert "stranger" not in text
    assert "Roll out to 2 devices" in text
    assert not Rollout.objects.exists()


def test_the_preview_says_which_rollouts_have_the_devices_now(operating, rollout, release):
    Deployment.objects.filter(device__name="cam-1").update(state="installing")
    newer = make_release(release.version, classes=("embedded", "mobile"))
    text = flat(operating.get(f"/rollouts/new?release={newer.pk}&group=hall"))
    link = f'1 device is busy with <a href="/rollouts/{rollout.pk}">{rollout}</a>:'
    assert f"{link} this rollout waits there until it has ended." in text
    assert f"{link} this rollout takes its place there." in text, "arm-1 was told, and can still turn"
    assert f"It will be updated once {rollout} has ended there." in text
    operating.post(f"/rollouts/new?release={newer.pk}&group=hall", {"deadline": "3600"})
    text = flat(operating.get(f"/rollouts/{Rollout.objects.first().pk}"))
    assert f"Waiting for {rollout}, which is installing on this device." in text
    assert f"<p>Waiting for {rollout}.</p>" in text, "as a reason of many devices"


def test_what_would_update_nothing_is_not_started_and_says_why(operating, hall, release):
    device = Device.objects.get(name="done")
    answer = operating.post(f"/rollouts/new?release={release.pk}&device={device.pk}", {"deadline": "3600"})
    assert answer.status_code == 422
    assert "done already runs it." in answer.text
    assert not Rollout.objects.exists()


def test_what_was_previewed_is_started(operating, hall, release):
    answer = operating.post(f"/rollouts/new?release={release.pk}&group=hall", {"deadline": "86400"})
    rollout = Rollout.objects.get()
    assert answer.url == f"/rollouts/{rollout.pk}"
    assert (rollout.group, rollout.deadline_seconds, rollout.state) == (hall, 86_400, "running")
    assert rollout.deployments.filter(state=State.NOTIFIED).count() == 2


def test_a_single_device_is_deployed_to_from_its_page(operating, hall, release):
    device = Device.objects.get(name="cam-1")
    assert f'href="/rollouts/new?device={device.pk}"' in operating.get(f"/devices/{device.pk}").text
    address = f"/rollouts/new?release={release.pk}&device={device.pk}"
    assert "Roll out to 1 device" in flat(operating.get(address))
    operating.post(address, {"deadline": "3600"})
    assert [row.device for row in Rollout.objects.get().deployments.all()] == [device]


@pytest.mark.parametrize("deadline", ["", "7", "forever"])
def test_a_deadline_that_is_not_offered_is_refused(operating, hall, release, deadline):
    answer = operating.post(f"/rollouts/new?release={release.pk}&group=hall", {"deadline": deadline})
    assert answer.status_code == 422
    assert 'id="id_deadline-error"' in answer.text
    assert not Rollout.objects.exists()


def test_a_group_without_an_accepted_device_cannot_be_rolled_out_to(operating, release):
    Group.objects.create(name="nobody")
    address = f"/rollouts/new?release={release.pk}&group=nobody"
    assert "No accepted device is there" in operating.get(address).text
    answer = operating.post(address, {"deadline": "3600"})
    assert answer.status_code == 422
    assert "There is no accepted device in nobody." in answer.text


def test_half_a_wish_starts_nothing(operating, hall, release):
    for query in (f"release={release.pk}", "group=hall", ""):
        assert operating.post(f"/rollouts/new?{query}", {"deadline": "3600"}).status_code == 422
    assert not Rollout.objects.exists()


def test_a_long_preview_is_cut_and_says_so(operating, sample_fleet):
    fleet = sample_fleet(300)
    text = flat(operating.get(f"/rollouts/new?release={fleet.releases[1].pk}&group=factory-floor"))
    assert re.search(r"The first 200 of 2\d\d devices are listed, those left out before the others; the counts", text)
    Device.objects.filter(name=fleet.devices[200].name).update(storage_free=1000)
    text = flat(operating.get(f"/rollouts/new?release={fleet.releases[1].pk}&group=factory-floor"))
    assert text.index("0.0 MiB are free on this device.") < text.index("It will be updated")
    assert text.count('<a href="/devices/d-') == 200


def test_a_way_back_to_an_older_version_is_shown_and_wants_a_tick(operating, db):
    old = make_release(make_version(number=1), classes=("embedded",))
    new = make_release(make_version(number=2), classes=("embedded",))
    device = make_device(name="ahead", active_manifest=new.variants.get().manifest_digest)
    address = f"/rollouts/new?release={old.pk}&device={device.pk}"
    text = flat(operating.get(address))
    assert "1 back to an older version" in text
    assert "It will be updated, back from version 2." in text
    refused = operating.post(address, {"deadline": "3600"})
    assert refused.status_code == 422 and "Confirm that they go back." in flat(refused)
    assert not Rollout.objects.exists()

    assert operating.post(address, {"deadline": "3600", "back": "on"}).status_code == 302
    assert Rollout.objects.get().back
    assert "back to an older" not in flat(operating.get(f"/rollouts/new?release={new.pk}&device={device.pk}"))


# --- In phases ------------------------------------------------------------------------------------------------------


def test_a_plan_fills_the_form_and_an_estimate_goes_with_it(operating, crowd):
    release = Release.objects.get()
    text = flat(operating.get(f"/rollouts/new?release={release.pk}&group=crowd&plan=canary"))
    assert re.findall(r'name="size_\d" value="([^"]*)"', text) == ["1", "10 %", "all"]
    assert re.findall(r'name="soak_\d" value="([^"]*)"', text) == ["10", "30"]
    assert "About 43 min" in text and "2.01 MB to publish once, 40.1 MB to all devices" in text
    assert "Estimated: 1 min 15 s for a device" in text


def test_an_estimate_follows_what_is_typed(operating, crowd):
    release = Release.objects.get()
    here = f"/rollouts/new?release={release.pk}&group=crowd&plan=once"
    headers = {"HX-Request": "true", "HX-Target": "rollout-estimate"}
    typed = "&deadline=604800&size_0=all&per_minute=1"
    assert "About 21 min" in flat(operating.get(here + typed, headers=headers))
    assert (
        "The last phase goes to all devices" in operating.get(here + "&deadline=604800&size_0=5", headers=headers).text
    )
    assert "“all”" in operating.get(here + "&deadline=604800&size_0=many", headers=headers).text


def test_phases_pace_and_window_are_started_as_typed(operating, crowd):
    release = Release.objects.get()
    fields = asked(
        size_0="2",
        success_0="100",
        failures_0="1",
        soak_0="5",
        size_1="50%",
        success_1="90",
        failures_1="20",
        soak_1="",
        size_2="all",
        success_2="",
        failures_2="",
        soak_2="",
        on_error="roll_back",
        latency_rise="25",
        error_rise="1",
        most_in_flight="5",
        per_minute="60",
        window_start="22:00",
        window_end="04:30",
        days=["mon", "sun"],
        zone_name="Europe/Berlin",
        only_idle="on",
        starts_at="2099-05-01T12:00",
        continuous="on",
        needs_approval="on",
    )
    answer = operating.post(f"/rollouts/new?release={release.pk}&group=crowd&plan=canary", fields)
    assert answer.status_code == 302
    rollout = Rollout.objects.get()
    first, second, third = rollout.phases.all()
    assert [str(phase.plan) for phase in (first, second, third)] == ["up to 2 devices", "up to 50 %", "all devices"]
    assert (first.soak_seconds, first.failures, first.on_error, first.latency_rise) == (300, 0.01, "roll_back", 0.25)
    assert (second.success, third.failures) == (0.9, None)
    assert str(rollout.window) == "22:00 to 04:30 on mon, sun"
    assert (rollout.zone_name, rollout.most_in_flight, rollout.per_minute) == ("Europe/Berlin", 5, 60)
    assert (rollout.only_idle, rollout.continuous, rollout.needs_approval, rollout.state) == (True, True, True, "draft")
    assert rollout.starts_at.isoformat() == "2099-05-01T12:00:00+00:00"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"size_0": "few"}, "A size is a number of devices"),
        ({"window_start": "22:00"}, "A window has a start and an end."),
        ({"zone_name": "Mars"}, "There is no time zone called &#x27;Mars&#x27;"),
        ({"size_0": "5"}, "The last phase goes to all devices"),
        ({"most_in_flight": "-1"}, "greater than or equal to 0"),
        ({"starts_at": "2001-01-01T00:00"}, "The start lies in the past."),
    ],
)
def test_what_makes_no_sense_comes_back_with_what_was_typed(operating, crowd, more, said):
    release = Release.objects.get()
    answer = operating.post(f"/rollouts/new?release={release.pk}&group=crowd", asked(**more))
    assert answer.status_code == 422
    assert said in answer.text
    assert not Rollout.objects.exists()
