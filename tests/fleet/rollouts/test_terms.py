"""When a rollout begins and by whose leave; who joins, who stays out, and the way back."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from fleet.accounts.roles import Role
from fleet.accounts.services import create_person
from fleet.devices import services as devices
from fleet.devices.models import Device
from fleet.errors import Refused
from fleet.rollouts import services
from fleet.rollouts.models import Deployment, Rollout
from fleet.rollouts.plan import Terms
from tests.conftest import make_device
from tests.fleet.builders import make_release, make_version
from tests.fleet.rollouts.ten import CANARY, counts, ends, look
from tests.fleet.rollouts.test_rollout import desired_of

pytestmark = pytest.mark.django_db
# --- When, and by whose leave -----------------------------------------------------------------------------------------


def test_a_scheduled_rollout_begins_when_its_time_has_come(release, group, operator):
    rollout = services.start(release, operator, group=group, terms=Terms(starts_at=timezone.now() + timedelta(hours=1)))
    assert rollout.state == "scheduled"
    assert counts(look(rollout)) == {"queued": 10}
    Rollout.objects.update(starts_at=timezone.now())
    assert look(rollout).state == "running"
    assert counts(rollout) == {"notified": 10}
    assert rollout.started_at


def test_a_second_person_approves(release, group, operator, admin):
    rollout = services.start(release, operator, group=group, terms=Terms(needs_approval=True))
    assert (rollout.state, counts(look(rollout))) == ("draft", {"queued": 10})
    with pytest.raises(Refused, match="somebody else has to approve it"):
        services.approve(rollout, operator)
    services.approve(rollout, admin)
    rollout.refresh_from_db()
    assert (rollout.state, rollout.approved_by) == ("running", admin)
    assert counts(rollout) == {"notified": 10}
    other, _ = create_person("third", Role.OPERATOR, by=None)
    with pytest.raises(Refused, match="does not wait for"):
        services.approve(rollout, other)


def test_what_waits_for_its_time_takes_over_when_it_begins_and_not_before(release, group, operator):
    later = services.start(
        make_release(release.version), operator, group=group, terms=Terms(starts_at=timezone.now() + timedelta(hours=1))
    )
    now = services.start(release, operator, group=group)
    assert counts(later) == {"queued": 10}
    services.begin(later, operator)
    assert counts(later) == {"notified": 10}
    assert counts(now) == {"superseded": 10}


def test_a_device_whose_turn_has_not_come_keeps_what_it_runs_when_a_newer_rollout_takes_over(group, operator):
    Device.objects.update(active_manifest="cd" * 32)
    old = services.start(make_release(), operator, group=group)
    new = services.start(make_release(old.release.version), operator, group=group, phases=CANARY)
    assert counts(old) == {"superseded": 10}
    waiting = new.deployments.filter(phase=1).select_related("device").first()
    assert desired_of(waiting.device).manifest == "cd" * 32
    told = new.deployments.select_related("device", "variant").get(phase=0)
    assert desired_of(told.device).deployment_id == told.pk


def test_a_deadline_does_not_run_while_a_person_holds_the_rollout(release, group, operator):
    rollout = services.start(release, operator, group=group, terms=Terms(most_in_flight=1), deadline_seconds=60)
    ends(rollout)
    services.pause(rollout, operator)
    Deployment.objects.filter(state="queued").update(deadline=datetime(2020, 1, 1, tzinfo=UTC))
    assert counts(look(rollout)) == {"active": 1, "queued": 9}
    services.resume(rollout, operator)
    assert counts(look(rollout)) == {"active": 1, "notified": 1, "queued": 8}


# --- Continuous, pinned, back -----------------------------------------------------------------------------------------


def test_a_continuous_rollout_takes_in_who_joins_the_group(release, group, operator):
    rollout = services.start(release, operator, group=group, terms=Terms(continuous=True))
    ends(rollout)
    assert look(rollout).state == "running"
    group.devices.add(joined := make_device(), make_device(admission="pending"))
    look(rollout)
    assert rollout.deployments.get(device=joined).state == "notified"
    assert rollout.deployments.count() == 11
    newer = services.start(make_release(release.version), operator, group=group)
    rollout.refresh_from_db()
    assert not rollout.continuous, "a newer rollout to the group takes over"
    assert look(rollout).state == "finished"
    assert newer.state == "running"


def test_only_a_group_can_be_joined(release, group, operator):
    with pytest.raises(Refused, match="Only a rollout to a group"):
        services.start(release, operator, devices=list(group.devices.all()), terms=Terms(continuous=True))


def test_a_pinned_device_is_left_out_and_says_why(release, group, operator):
    first, second = group.devices.order_by("name")[:2]
    Device.objects.filter(pk=first.pk).update(pinned="calibration, until Friday")
    rollout = services.start(release, operator, group=group, terms=Terms(most_in_flight=1))
    assert rollout.deployments.get(device=first).reason == "It is pinned: calibration, until Friday"
    Device.objects.filter(pk=second.pk).update(pinned="mine")
    for _ in range(10):
        ends(rollout)
        look(rollout)
    if rollout.deployments.get(device=second).state != "active":
        assert rollout.deployments.get(device=second).reason == "It is pinned: mine"
    assert rollout.state == "finished"


def test_a_rollout_is_rolled_back_to_what_each_device_ran_before(group, operator):
    version = make_version()
    a, b = make_release(version), make_release(version)
    first, second, bare = group.devices.order_by("name")[:3]
    before = {
        first.pk: a.variants.get(device_class="embedded").manifest_digest,
        second.pk: b.variants.get(device_class="embedded").manifest_digest,
    }
    for pk, manifest in before.items():
        Device.objects.filter(pk=pk).update(active_manifest=manifest)
    rollout = services.start(make_release(version), operator, devices=[first, second, bare])
    ends(rollout)
    look(rollout)

    undoing = services.roll_back(rollout, operator)

    assert {row.device_id: desired_of(row.device).manifest for row in undoing.deployments.filter(state="notified")} == (
        before
    )
    left = undoing.deployments.get(device=bare)
    assert (left.state, left.reason) == ("skipped", "It ran nothing before.")
    with pytest.raises(Refused, match="nothing to take back"):
        services.roll_back(undoing, operator)


def test_there_is_nothing_to_roll_back_when_nobody_took_it(release, group, operator):
    rollout = services.start(release, operator, group=group)
    with pytest.raises(Refused, match="No device runs anything from"), transaction.atomic():
        services.roll_back(rollout, operator)


def test_pinning_takes_back_what_was_not_installed(release, group, operator):
    device = group.devices.first()
    Device.objects.filter(pk=device.pk).update(active_manifest="cd" * 32)
    rollout = services.start(release, operator, group=group)
    devices.pin(device, "calibration", operator)
    assert rollout.deployments.get(device=device).state == "canceled"
    assert desired_of(device).manifest == "cd" * 32
    devices.unpin(device, operator)
    with pytest.raises(Refused, match="is not pinned"):
        devices.unpin(device, operator)
    with pytest.raises(Refused, match="Say why"):
        devices.pin(device, " ", operator)
