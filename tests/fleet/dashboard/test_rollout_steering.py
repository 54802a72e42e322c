"""A rollout is approved, paused, taken back, tried again."""

from django.utils import timezone

from fleet.catalog.models import Release
from fleet.devices.models import Device
from fleet.rollouts.models import Deployment, Rollout
from tests.fleet.builders import make_release
from tests.fleet.dashboard.rollout_page import flat, steer


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


def test_the_page_shows_phases_and_what_holds_them(operating, crowd, managing):
    release = Release.objects.get()
    operating.post(
        f"/rollouts/new?release={release.pk}&group=crowd&plan=canary", {"deadline": "604800", "needs_approval": "on"}
    )
    rollout = Rollout.objects.get()
    own = flat(operating.get(f"/rollouts/{rollout.pk}"))
    assert "Nothing happens before somebody else has approved it." in own and "order-approve" not in own
    assert "Waiting for a second person" in own
    assert "order-approve" in managing.get(f"/rollouts/{rollout.pk}").text
    assert "is approved." in steer(managing, rollout, "approve").text
    text = flat(operating.get(f"/rollouts/{rollout.pk}"))
    assert "0 of 1 device took it; 1 have to." in text
    assert "Waiting for phase 3." in text and "When the phases before it have passed." in text
    assert "Next opens at 95 %." in text and "Pauses at 10 % failed." in text
    listed = flat(operating.get(f"/rollouts/{rollout.pk}?phase=1"))
    assert listed.count('id="dp-') == 1
    assert "The next phase of" in steer(operating, rollout, "next").text


def test_a_rollout_is_rolled_back_from_its_page(operating, rollout, hall, release):
    row = rollout.deployments.select_related("variant").get(device__name="cam-1")
    before = make_release(release.version, classes=("embedded",)).variants.get().manifest_digest
    Deployment.objects.filter(pk=row.pk).update(state="active", previous_manifest=before)
    Device.objects.filter(pk=row.device_id).update(active_manifest=row.variant.manifest_digest)
    assert "order-back" in operating.get(f"/rollouts/{rollout.pk}").text
    answer = steer(operating, rollout, "back")
    undoing = Rollout.objects.get(undoes=rollout)
    assert answer.redirect_chain[-1][0] == f"/rollouts/{undoing.pk}"
    assert "Back from" in answer.text
    text = flat(operating.get(f"/rollouts/{rollout.pk}"))
    assert f"{undoing}</a> brings its devices back" in text and "order-back" not in text
