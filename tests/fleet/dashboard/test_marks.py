"""What happened on a device, as its charts mark it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from agent.wire.messages import State as Reported
from fleet.alerts.models import Alert
from fleet.audit.models import Event
from fleet.dashboard.selectors.marks import KINDS, MOST, marks
from fleet.dashboard.series import RANGES, View
from fleet.devices import reports
from fleet.rollouts.models import Command, Deployment, Rollout, Transition
from tests.conftest import make_device
from tests.fleet.builders import make_release

pytestmark = pytest.mark.django_db


@pytest.fixture
def view():
    now = timezone.now().timestamp()
    return View(RANGES["1h"], now - 3600, now + 1)


def deployed(device) -> Deployment:
    release = make_release()
    rollout = Rollout.objects.create(release=release, target="all")
    return Deployment.objects.create(
        rollout=rollout, device=device, variant=release.variants.get(device_class="embedded")
    )


def test_an_update_is_marked_where_it_begins_and_where_it_ends(device, view):
    deployment, now = deployed(device), timezone.now()
    for ago, new in ((9, "notified"), (8, "downloading"), (7, "verified"), (5, "rolled_back")):
        Transition.objects.create(deployment=deployment, at=now - timedelta(minutes=ago), new=new)
    found = marks(device.pk, view)
    assert [(mark["kind"], mark["tone"], mark["text"]) for mark in found] == [
        ("deployment", "info", "arm@1 fp16-1: downloading"),
        ("deployment", "bad", "arm@1 fp16-1: rolled back"),
    ]
    assert found[1]["url"] == f"/rollouts/{deployment.rollout_id}"
    assert found[1]["at"] == pytest.approx((now - timedelta(minutes=5)).timestamp() * 1000, abs=1)


def test_an_alert_is_marked_where_it_opens_and_where_it_is_over(device, view):
    now = timezone.now()
    times = {"since": now, "opened_at": now - timedelta(minutes=9), "recovered_at": now - timedelta(minutes=4)}
    given = {"name": "Too hot", "condition": "temperature", "severity": "critical", "device": device}
    Alert.objects.create(**given, subject=device.pk, stage="recovered", **times)
    Alert.objects.create(**given, subject=device.pk, stage="open", since=now, opened_at=now)
    Alert.objects.create(**given, subject="another", stage="pending", since=now)
    found = [(mark["kind"], mark["tone"], mark["text"]) for mark in marks(device.pk, view)]
    opened, over = ("alert", "bad", "Too hot: open"), ("alert", "ok", "Too hot: over")
    assert found == [opened, over, opened]


def test_commands_boots_and_changes_are_marked_and_those_of_others_are_not(device, view):
    now = timezone.now()
    for one, kind in ((device, "ping"), (make_device(), "benchmark")):
        Command.objects.create(device=one, kind=kind, state="succeeded", deadline=now)
    Event.objects.create(device=device, kind="device.booted", text="started anew", at=now - timedelta(minutes=3))
    Event.objects.create(device=device, kind="device.config", text="Settings", at=now - timedelta(minutes=2))
    Event.objects.create(device=device, kind="command.sent", text="is a command already")
    found = [(mark["kind"], mark["text"]) for mark in marks(device.pk, view)]
    assert found == [("boot", "started anew"), ("change", "Settings"), ("command", "ping: succeeded")]
    assert {kind for kind, _ in found} <= set(KINDS)


def test_marks_lie_within_the_view_and_are_not_without_end(device, view, django_assert_num_queries):
    old = timezone.now() - timedelta(hours=2)
    Event.objects.create(device=device, kind="device.booted", text="before", at=old)
    Command.objects.bulk_create(
        Command(id=f"c-{number}", device=device, kind="ping", deadline=timezone.now()) for number in range(MOST + 20)
    )
    with django_assert_num_queries(4):
        found = marks(device.pk, view)
    assert len(found) == MOST


def test_a_new_boot_is_kept_as_something_that_happened(device, view):
    device.boot_id = "b-1"
    device.save()
    now = timezone.now()
    for boot in ("b-1", "b-2", "b-2"):
        device.refresh_from_db()
        reports.states([(device, Reported(online=True, boot_id=boot, seq=9, at=now.timestamp()), False)], now)
    assert [mark["kind"] for mark in marks(device.pk, view)] == ["boot"]


def test_the_charts_get_them_when_they_ask(viewer, device):
    Event.objects.create(device=device, kind="device.booted", text="started anew")
    address = f"/devices/{device.pk}/series?range=1h"
    assert "marks" not in viewer.get(address).json()
    assert [mark["text"] for mark in viewer.get(f"{address}&marks=1").json()["marks"]] == ["started anew"]
