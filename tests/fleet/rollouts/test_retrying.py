"""What failed is tried again, by the same plan."""

from datetime import timedelta

import pytest
from django.utils import timezone

from fleet.devices.models import Device
from fleet.rollouts import services
from fleet.rollouts.plan import AT_ONCE, PRESETS, Terms
from tests.conftest import make_device
from tests.fleet.builders import make_release, make_version
from tests.fleet.rollouts.ten import CANARY, counts, ends, look

pytestmark = pytest.mark.django_db


def test_it_keeps_the_plan_pace_and_thresholds(release, group, operator, admin):
    terms = Terms(most_in_flight=3, per_minute=6000, only_idle=True, needs_approval=True)
    rollout = services.start(release, operator, group=group, phases=CANARY, terms=terms)
    services.approve(rollout, admin)
    services.open_next(rollout, operator)
    rollout.deployments.update(state="failed")

    again = services.retry_failed(rollout, operator)

    assert again.terms == terms
    assert tuple(phase.plan for phase in again.phases.all()) == CANARY
    assert again.state == "draft", "what needed a second person's word needs it again"
    services.approve(again, admin)
    assert counts(again) == {"notified": 1, "queued": 9}
    ends(again, "failed")
    assert look(again).state == "paused"


def test_what_waited_for_its_time_or_took_in_others_begins_at_once_with_those_that_failed(release, group, operator):
    terms = Terms(starts_at=timezone.now() + timedelta(hours=1), continuous=True)
    rollout = services.start(release, operator, group=group, terms=terms)
    services.begin(rollout, operator)
    ends(rollout, "failed", count=2)
    again = services.retry_failed(rollout, operator)
    assert (again.state, again.terms) == ("running", Terms())
    assert counts(again) == {"notified": 2}


def test_few_devices_keep_the_phases_that_they_fill(release, group, operator):
    rollout = services.start(release, operator, group=group, phases=PRESETS["canary"][1])
    services.open_next(rollout, operator)
    ends(rollout, "failed", count=2)
    ends(rollout)
    again = services.retry_failed(rollout, operator)
    canary, _, everybody = PRESETS["canary"][1]
    assert tuple(phase.plan for phase in again.phases.all()) == (canary, everybody)
    assert counts(again) == {"notified": 1, "queued": 1}


def test_all_at_once_is_tried_again_all_at_once(release, group, operator):
    rollout = services.start(release, operator, group=group)
    ends(rollout, "failed")
    assert tuple(phase.plan for phase in services.retry_failed(rollout, operator).phases.all()) == AT_ONCE


def test_a_way_back_that_failed_is_tried_again_to_what_each_ran_before(operator):
    old, new = make_release(make_version(number=1)), make_release(make_version(number=2))
    before = old.variants.get(device_class="embedded")
    devices = [make_device(active_manifest=before.manifest_digest, online=True) for _ in range(2)]
    Device.objects.update(last_seen=timezone.now() + timedelta(hours=1))
    rollout = services.start(new, operator, devices=devices)
    ends(rollout)
    undoing = services.roll_back(rollout, operator)
    ends(undoing, "failed", count=1)
    ends(undoing)

    again = services.retry_failed(undoing, operator)

    row = again.deployments.get()
    assert (row.variant, row.state) == (before, "notified")
    assert (again.undoes, again.back) == (rollout, True)
