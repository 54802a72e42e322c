"""Rollouts: followed on their page, square by square and row by row."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from fleet.dashboard.selectors import rollouts as select
from fleet.dashboard.selectors.progress import progress
from fleet.dashboard.templatetags import drawing
from fleet.devices.models import Device
from fleet.gateway import limits
from fleet.rollouts import tasks
from fleet.rollouts.models import Deployment
from tests.fleet.dashboard.rollout_page import flat


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


def test_transfers_to_the_fleet_are_limited(operating):
    def shown():
        return flat(operating.get("/rollouts"))

    assert "Transfers: no limit" in shown()
    assert operating.post("/rollouts/transfers", {"rate": "2.5"}).status_code == 302
    assert "Transfers: 2.50 MB/s at most" in shown() and 'value="2.5"' in operating.get("/rollouts").text
    assert limits.fleet_rate() == 2_500_000
    refused = operating.post("/rollouts/transfers", {"rate": "0.001"})
    assert refused.status_code == 422 and "at least 16,384 bytes a second" in refused.text
    operating.post("/rollouts/transfers", {"rate": ""})
    assert "Transfers: no limit" in shown()


def test_a_viewer_does_not_limit_transfers(viewer):
    assert viewer.post("/rollouts/transfers", {"rate": "1"}).status_code == 403
    assert "transfers-title" not in viewer.get("/rollouts").text


def test_a_device_that_says_what_it_waits_for_is_quoted(rollout, viewer):
    row = rollout.deployments.get(device__name="cam-1")
    Device.objects.filter(pk=row.device_id).update(online=True, last_seen=timezone.now())
    rollout.deployments.filter(pk=row.pk).update(step="Waiting for the clock to be set.")
    assert "Waiting for the clock to be set." in flat(viewer.get(f"/rollouts/{rollout.pk}"))


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
        ("q=class:mobile", ["arm-1"]),
        ("q=-class:mobile&kind=waiting", ["cam-1"]),
        ("q=memory%3C", []),
        ("page=-3", ["arm-1", "cam-1", "done", "ipc-1", "tiny"]),
    ],
)
def test_devices_of_a_rollout_are_filtered(rollout, viewer, query, found):
    text = viewer.get(f"/rollouts/{rollout.pk}?{query}").text
    assert sorted(re.findall(r'id="dp-[^"]+">\s*<th[^>]*>\s*<a[^>]*>([^<]+)<', text)) == found


def test_a_search_of_a_rollouts_devices_that_cannot_be_read_says_where(rollout, viewer):
    text = flat(viewer.get(f"/rollouts/{rollout.pk}?q=clas:mobile"))
    assert "Did you mean" in text and "class:mobile" in text
    assert 'aria-describedby="search-problem"' in text


def test_a_search_of_a_rollouts_devices_costs_no_query_more(rollout, viewer):
    def asked(address: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert viewer.get(address).status_code == 200
        return len(queries)

    asked(f"/rollouts/{rollout.pk}")
    assert asked(f"/rollouts/{rollout.pk}?q=class:mobile tag:site=berlin") <= asked(f"/rollouts/{rollout.pk}")


def test_failures_are_counted_by_their_reason(rollout, viewer):
    Deployment.objects.filter(device__name__in=["cam-1", "arm-1"]).update(state="failed", reason="the disk is full")
    Deployment.objects.filter(device__name="tiny").delete()
    rollout.deployments.create(device=Device.objects.get(name="tiny"), state="rejected")
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


def test_thousands_are_drawn_by_their_kind_and_lead_to_the_table(rollout, monkeypatch, viewer):
    monkeypatch.setattr(select, "MOST_SQUARES", 2)
    text = flat(viewer.get(f"/rollouts/{rollout.pk}"))
    links = re.findall(r'<a href="([^"]+)" fill="([^"]+)" aria-label="([^"]+)">', text)
    assert links == [
        ("?phase=1&amp;kind=waiting#rollout-devices", "url(#cell-w)", "Waiting: 1 device"),
        ("?phase=1&amp;kind=offline#rollout-devices", "url(#cell-o)", "Offline: 1 device"),
    ]
    assert 'id="sq-' not in text


@pytest.mark.parametrize(
    ("start", "end", "covered"),
    [
        (0, 1, [(0, 0, 1, 1)]),
        (3, 125, [(3, 0, 122, 1)]),
        (120, 130, [(120, 0, 5, 1), (0, 1, 5, 1)]),
        (100, 1000, [(100, 0, 25, 1), (0, 1, 125, 6), (0, 7, 125, 1)]),
    ],
)
def test_a_kind_is_three_rectangles_at_most(start, end, covered):
    runs = [tuple(side // drawing.PITCH for side in run) for run in drawing._runs(start, end)]
    assert runs == covered
    assert sum(width * height for _, _, width, height in runs) == end - start


def test_the_list_filters_by_state(viewer, rollout):
    assert f"/rollouts/{rollout.pk}" in viewer.get("/rollouts?state=running").text
    assert "No rollout is in this state" in viewer.get("/rollouts?state=paused").text
    assert f"/rollouts/{rollout.pk}" in viewer.get("/rollouts?state=nonsense").text
