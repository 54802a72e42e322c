"""Rollouts: previewed, started, followed, steered."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from agent.wire.hardware import GIB
from agent.wire.states import Deployment as State
from fleet.catalog.models import Release
from fleet.dashboard.selectors import rollouts as select
from fleet.dashboard.selectors.progress import progress
from fleet.devices.models import Device, Group
from fleet.rollouts import services, tasks
from fleet.rollouts.models import Deployment, Rollout
from tests.conftest import make_device
from tests.fleet.builders import make_release, make_version


def flat(answer) -> str:
    return re.sub(r"\s+", " ", answer.text)


@pytest.fixture
def hall(db) -> Group:
    """Two that can update; others that run it already, are too small, of a class without a variant, not accepted."""
    release = make_release(make_version(), classes=("embedded", "mobile"))
    variant = {variant.device_class: variant for variant in release.variants.all()}
    now = timezone.now()
    there = {"online": True, "last_seen": now, "sample_at": now}
    group = Group.objects.create(name="hall")
    group.devices.set(
        [
            make_device(name="cam-1", **there),
            make_device(name="arm-1", device_class="mobile"),
            make_device(name="done", active_manifest=variant["embedded"].manifest_digest),
            make_device(name="tiny", hardware={"memory_bytes": GIB, "storage_bytes": 1000}),
            make_device(name="ipc-1", device_class="edge_server"),
            make_device(name="stranger", admission="pending"),
        ]
    )
    return group


@pytest.fixture
def release(hall):
    return Release.objects.get()


@pytest.fixture
def rollout(hall, release, operator) -> Rollout:
    return services.start(release, operator, group=hall)


# --- A new one ------------------------------------------------------------------------------------------------------


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


# --- The page -------------------------------------------------------------------------------------------------------


def test_every_deployment_is_counted_once_and_the_absent_are_offline(rollout):
    found = progress([rollout], timezone.now())[rollout.pk]
    counts = {key: number for key, number in found.counts.items() if number}
    assert counts == {"already": 1, "waiting": 1, "offline": 1, "left": 2}
    assert (found.total, found.open, found.ended) == (5, 2, 3)
    assert sum(share for _, share in found.bar) == pytest.approx(1)


def test_a_device_that_goes_away_is_waited_for_and_not_failed(rollout):
    later = timezone.now() + timedelta(minutes=5)
    assert progress([rollout], later)[rollout.pk].counts["offline"] == 2
    assert progress([rollout], later)[rollout.pk].counts["failed"] == 0


def test_head_banner_and_tiles_count_the_same_way(rollout, viewer):
    Deployment.objects.filter(device__name="cam-1").update(state="active")
    Deployment.objects.filter(device__name="arm-1").update(state="failed")
    tasks.tick()
    text = flat(viewer.get(f"/rollouts/{rollout.pk}"))
    assert "1 of 5 devices took it, 1 already ran it, 2 were left out, 1 failed" in text, "the banner"
    assert (
        '1 of 5 devices took it.</b> 1 already ran it. 2 were left out. <span class="t-bad">1 failed.</span>' in text
    ), "the head"
    tiles = re.findall(r'<span class="k">.*?</svg>([^<]+)</span> <span class="v">(\d+)</span>', text)
    assert {label: int(number) for label, number in tiles if number != "0"} == {
        **{"Done": 1, "Ran it already": 1, "Failed": 1, "Left out": 2}
    }


def test_one_square_is_one_device_and_says_which(rollout, viewer):
    found = select.squares(rollout, timezone.now())
    assert [(square.name, square.cell) for square in found] == [
        ("done", "a"),
        ("cam-1", "w"),
        ("arm-1", "o"),
        ("ipc-1", "n"),
        ("tiny", "n"),
    ]
    text = viewer.get(f"/rollouts/{rollout.pk}").text
    assert text.count('tabindex="0"') == 1
    squares = re.findall(r'id="sq-[^"]+" class="(\w)" href="/devices/[^"]+" title="([^"]+)"', text)
    assert squares[:2] == [("a", "done: ran it already"), ("w", "cam-1: notified")]
    assert len(squares) == 5


def test_every_row_says_why_it_waits_or_how_it_ended(rollout, viewer):
    text = flat(viewer.get(f"/rollouts/{rollout.pk}"))
    assert "Told the device; waiting for it to begin." in text
    assert "Waiting for the device: it has not connected yet." in text
    assert "It already runs this variant." in text
    assert "Why 2 devices are not there yet" in text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["arm-1", "cam-1", "done", "ipc-1", "tiny"]),
        ("kind=waiting", ["cam-1"]),
        ("kind=offline", ["arm-1"]),
        ("kind=already", ["done"]),
        ("kind=left", ["ipc-1", "tiny"]),
        ("kind=stopped", []),
        ("kind=done", []),
        ("kind=nonsense", ["arm-1", "cam-1", "done", "ipc-1", "tiny"]),
        ("q=IPC", ["ipc-1"]),
        ("q=%00%27", []),
        ("page=-3", ["arm-1", "cam-1", "done", "ipc-1", "tiny"]),
    ],
)
def test_devices_of_a_rollout_are_filtered(rollout, viewer, query, found):
    text = viewer.get(f"/rollouts/{rollout.pk}?{query}").text
    assert sorted(re.findall(r'id="dp-[^"]+">\s*<th[^>]*>\s*<a[^>]*>([^<]+)<', text)) == found


def test_failures_are_counted_by_their_reason(rollout, viewer):
    Deployment.objects.filter(device__name__in=["cam-1", "arm-1"]).update(state="failed", reason="the disk is full")
    Deployment.objects.filter(device__name="tiny").update(state="rejected", reason="")
    assert [(why.reason, why.count) for why in select.failures(rollout)] == [
        ("the disk is full", 2),
        ("No reason was reported.", 1),
    ]
    text = flat(viewer.get(f"/rollouts/{rollout.pk}"))
    assert "the disk is full</p> <p>failed</p>" in text


def test_reasons_that_differ_only_in_their_time_are_one(rollout):
    now = timezone.now()
    for hours, name in ((2, "cam-1"), (30, "arm-1")):
        Device.objects.filter(name=name).update(online=False, last_seen=now - timedelta(hours=hours))
    assert [(why.reason, why.count) for why in select.waits(rollout, now)] == [
        ("Waiting for the device: it is offline.", 2)
    ]


def test_a_map_has_an_end(rollout, monkeypatch, viewer):
    monkeypatch.setattr(select, "MOST_SQUARES", 2)
    assert "The first 2 of 5 devices are drawn." in flat(viewer.get(f"/rollouts/{rollout.pk}"))


# --- Steering -------------------------------------------------------------------------------------------------------


def steer(client, rollout, does):
    return client.post(f"/rollouts/{rollout.pk}/steer", {"do": does}, follow=True)


def test_a_rollout_is_paused_resumed_and_canceled(operating, rollout):
    assert "devices that were told go on" in steer(operating, rollout, "pause").text
    assert "Resume</button>" in operating.get(f"/rollouts/{rollout.pk}").text
    assert "goes on." in steer(operating, rollout, "resume").text
    answer = steer(operating, rollout, "cancel")
    assert "is canceled; 2 devices will not be updated." in answer.text
    assert 'name="do" value="pause"' not in answer.text
    assert "it cannot become" in steer(operating, rollout, "pause").text


def test_what_an_order_costs_is_said_before_it_is_given(operating, rollout):
    text = flat(operating.get(f"/rollouts/{rollout.pk}"))
    assert 'data-confirm-text="2 devices have not finished.' in text
    Deployment.objects.filter(device__name="cam-1").update(state="failed")
    assert "Try 1 device again?" in flat(operating.get(f"/rollouts/{rollout.pk}"))


def test_failed_devices_are_tried_again_in_a_new_rollout(operating, rollout):
    assert "No device failed in this rollout." in steer(operating, rollout, "retry").text
    Deployment.objects.filter(device__name="cam-1").update(state="failed", finished_at=timezone.now())
    answer = steer(operating, rollout, "retry")
    again = Rollout.objects.exclude(pk=rollout.pk).get()
    assert answer.redirect_chain[-1][0] == f"/rollouts/{again.pk}"
    assert [row.device.name for row in again.deployments.all()] == ["cam-1"]


def test_nobody_is_offered_to_try_again_what_left_the_fleet(operating, rollout):
    Deployment.objects.filter(device__name="cam-1").update(state="failed", finished_at=timezone.now())
    assert 'id="order-retry"' in operating.get(f"/rollouts/{rollout.pk}").text
    Device.objects.filter(name="cam-1").update(retired_at=timezone.now())
    text = operating.get(f"/rollouts/{rollout.pk}").text
    assert "1 failed." in text
    assert 'id="order-retry"' not in text


def test_an_order_that_does_not_exist_is_not_found(operating, rollout):
    assert steer(operating, rollout, "explode").status_code == 404


def test_the_list_filters_by_state(viewer, rollout):
    assert f"/rollouts/{rollout.pk}" in viewer.get("/rollouts?state=running").text
    assert "No rollout is in this state" in viewer.get("/rollouts?state=paused").text
    assert f"/rollouts/{rollout.pk}" in viewer.get("/rollouts?state=nonsense").text


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
