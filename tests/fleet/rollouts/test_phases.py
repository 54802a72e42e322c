"""Phases: a canary goes first, and thresholds decide what comes after it."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from fleet.audit.models import Event
from fleet.devices.models import Device, Group
from fleet.errors import Refused
from fleet.gateway.models import Outbox
from fleet.rollouts import services, tasks
from fleet.rollouts.models import Deployment, Phase, Rollout
from fleet.rollouts.plan import PRESETS, PhasePlan, Terms
from fleet.rollouts.policy import Action, Limits
from fleet.telemetry.models import Sample
from fleet.trust.models import Target
from tests.conftest import make_device
from tests.fleet.builders import make_release, make_version
from tests.fleet.rollouts.ten import CANARY, counts, ends, look
from tests.fleet.rollouts.test_rollout import desired_of, says

pytestmark = pytest.mark.django_db


def test_a_canary_goes_first_and_opens_the_rest_when_it_has_taken_it(release, group, operator):
    rollout = services.start(release, operator, group=group, phases=CANARY)
    assert counts(rollout) == {"notified": 1, "queued": 9}
    look(rollout)
    assert counts(rollout) == {"notified": 1, "queued": 9}
    ends(rollout)
    look(rollout)
    assert counts(rollout) == {"active": 1, "notified": 9}
    assert Event.objects.get(kind="rollout.phase").text == f"{rollout}: phase 2 of 2 is open, all devices"
    ends(rollout)
    assert look(rollout).state == "finished"
    assert rollout.reason == "10 of 10 devices took it"


def test_a_deadline_begins_when_a_phase_opens(release, group, operator):
    rollout = services.start(release, operator, group=group, phases=CANARY, deadline_seconds=600)
    assert set(rollout.deployments.filter(phase=1).values_list("deadline", flat=True)) == {None}
    ends(rollout)
    look(rollout)
    left = rollout.deployments.filter(phase=1).first().deadline - timezone.now()
    assert timedelta(minutes=9) < left <= timedelta(minutes=10)


def test_a_phase_is_watched_for_its_soak_time(release, group, operator):
    soak = Limits(soak=timedelta(minutes=5))
    rollout = services.start(
        release, operator, group=group, phases=(PhasePlan(count=1, limits=soak), PhasePlan(percent=100))
    )
    ends(rollout)
    assert counts(look(rollout)) == {"active": 1, "queued": 9}
    Phase.objects.filter(rollout=rollout, number=0).update(settled_at=timezone.now() - timedelta(minutes=5))
    assert counts(look(rollout)) == {"active": 1, "notified": 9}


def test_a_canary_that_fails_pauses_the_rollout_with_the_reason(release, group, operator):
    rollout = services.start(release, operator, group=group, phases=CANARY)
    ends(rollout, "failed", reason="golden observation 3 is off")
    assert look(rollout).state == "paused"
    assert rollout.reason == "Phase 1: 1 of 1 device failed (100%); the limit is 20%."
    assert counts(rollout) == {"failed": 1, "queued": 9}
    assert Event.objects.get(kind="rollout.paused").level == "bad"


def test_who_resumes_has_seen_what_failed(release, group, operator):
    rollout = services.start(release, operator, group=group, phases=CANARY)
    ends(rollout, "failed")
    services.resume(look(rollout), operator)
    assert counts(look(rollout)) == {"failed": 1, "notified": 9}
    ends(rollout, "failed", count=4)
    assert look(rollout).state == "running"
    ends(rollout, "failed", count=1)
    assert look(rollout).state == "paused"
    assert rollout.reason.startswith("Phase 2: 5 of 9 devices failed (56%)")


def test_devices_that_fail_after_their_phase_was_passed_count_too(release, group, operator):
    phases = (PhasePlan(count=5, limits=Limits(success=0.6, failures=0.4)), PhasePlan(percent=100))
    rollout = services.start(release, operator, group=group, phases=phases)
    ends(rollout, count=3)
    assert look(rollout).phase == 1
    ends(rollout, "failed", phase=0)
    assert look(rollout).state == "paused"
    assert rollout.reason.startswith("Phase 1: 2 of 5 devices failed (40%)")


def test_an_error_threshold_can_abort_and_roll_back(group, operator):
    old = make_release(make_version(number=1))
    Device.objects.update(active_manifest=old.variants.get(device_class="embedded").manifest_digest)
    limits = Limits(success=0.5, failures=0.5, on_error=Action.ROLL_BACK)
    release = make_release(make_version(number=2))
    phases = (PhasePlan(count=4, limits=limits), PhasePlan(percent=100))
    rollout = services.start(release, operator, group=group, phases=phases)
    ends(rollout, count=2)
    ends(rollout, "failed", phase=0)

    assert look(rollout).state == "aborted"

    undoing = rollout.undone_by.get()
    assert counts(undoing) == {"notified": 2}
    assert undoing.reason.startswith("Phase 1: 2 of 4 devices failed")
    for row in undoing.deployments.select_related("device", "variant"):
        assert row.variant.version.number == 1
        assert desired_of(row.device).manifest == row.variant.manifest_digest
    assert Target.objects.get(over__gt=0).over == 2, "the order to go back is signed"
    ends(undoing)
    assert look(undoing).state == "finished"
    assert not Target.objects.filter(over__gt=0).exists(), "and taken back"


def test_half_of_the_fleet_is_offline_and_the_rollout_holds_until_they_are_back(release, group, operator):
    away = list(group.devices.order_by("name")[5:].values_list("pk", flat=True))
    Device.objects.filter(pk__in=away).update(online=False)
    phases = (PhasePlan(percent=80, limits=Limits(success=0.9)), PhasePlan(percent=100))
    rollout = services.start(release, operator, group=group, phases=phases)
    here = rollout.deployments.filter(phase=0, device__online=True)
    assert here.count() == 5
    for row in here.select_related("device"):
        says(row.device, row, "active", 9)
    assert (look(rollout).phase, rollout.state) == (0, "running")
    Device.objects.filter(pk__in=away).update(online=True, last_seen=timezone.now())
    ends(rollout)
    assert look(rollout).phase == 1
    ends(rollout)
    assert look(rollout).state == "finished"


def test_a_person_opens_the_next_phase_early(release, group, operator):
    rollout = services.start(release, operator, group=group, phases=CANARY)
    services.open_next(rollout, operator)
    assert counts(rollout) == {"notified": 10}
    rollout.refresh_from_db()
    with pytest.raises(Refused, match="no further phase"):
        services.open_next(rollout, operator)


# --- Figures ----------------------------------------------------------------------------------------------------------


def sample(device, manifest: str, at, seq: int, latency: float, errors: int = 0) -> Sample:
    return Sample(
        device=device,
        at=at,
        received_at=at,
        boot_id="b",
        seq=seq,
        manifest=manifest,
        decisions=25,
        latency_p95=latency,
        errors=errors,
    )


@pytest.mark.parametrize(("after", "state"), [(21.0, "running"), (40.0, "paused")])
def test_a_variant_that_is_slower_on_the_canary_than_before_stops_there(group, operator, after, state):
    old = make_release(make_version(number=1)).variants.get(device_class="embedded").manifest_digest
    Device.objects.update(active_manifest=old)
    limits = Limits(soak=timedelta(minutes=1), latency_rise=0.2)
    phases = (PhasePlan(count=1, limits=limits), PhasePlan(percent=100))
    rollout = services.start(make_release(make_version(number=2)), operator, group=group, phases=phases)
    row = rollout.deployments.select_related("device", "variant").get(phase=0)
    Deployment.objects.filter(pk=row.pk).update(told_at=timezone.now() - timedelta(minutes=3))
    told = timezone.now() - timedelta(minutes=3)
    ends(rollout)
    new = row.variant.manifest_digest
    Sample.objects.bulk_create(
        [sample(row.device, old, told - timedelta(seconds=5 * n), n, 20.0) for n in range(10)]
        + [sample(row.device, old, told - timedelta(hours=1), 50, 500.0)]
        + [sample(row.device, new, told + timedelta(seconds=5 * n), 100 + n, after) for n in range(1, 10)]
    )
    other = rollout.deployments.exclude(pk=row.pk).first().device
    Sample.objects.create(**{"device": other, "at": told, "received_at": told, "boot_id": "b", "seq": 1})

    tasks.measure()
    assert look(rollout).state == state

    phase = rollout.phases.get(number=0)
    assert phase.figures["before"]["latency_p95"] == 20.0, "what was long ago does not count"
    assert phase.figures["after"]["latency_p95"] == after
    if state == "paused":
        assert "p95 latency rose from 20 to 40 ms on the same devices (+100%)" in rollout.reason
    else:
        Phase.objects.filter(pk=phase.pk).update(settled_at=timezone.now() - timedelta(minutes=1))
        assert look(rollout).phase == 1


def test_a_phase_that_compares_waits_until_somebody_has_looked(release, group, operator):
    limits = Limits(latency_rise=0.2)
    phases = (PhasePlan(count=1, limits=limits), PhasePlan(percent=100))
    rollout = services.start(release, operator, group=group, phases=phases)
    ends(rollout)
    assert look(rollout).phase == 0
    tasks.measure()
    assert look(rollout).phase == 1, "these devices ran nothing before: there is nothing to compare"


@pytest.mark.parametrize("devices", [3, 60])
def test_measuring_takes_the_same_queries_however_many_devices(release, operator, devices, django_assert_num_queries):
    group = Group.objects.create(name="many")
    group.devices.set([make_device(active_manifest="cd" * 32) for _ in range(devices)])
    phases = (PhasePlan(percent=100, limits=Limits(latency_rise=0.2)),)
    rollout = services.start(release, operator, group=group, phases=phases)
    ends(rollout)
    with django_assert_num_queries(5):
        tasks.measure()


# --- Harmless twice, refused by the database --------------------------------------------------------------------------


def test_two_ticks_do_what_one_does(release, group, operator):
    rollout = services.start(release, operator, group=group, phases=CANARY)
    ends(rollout)
    tasks.tick()
    before = Outbox.objects.count(), Event.objects.count()
    tasks.tick()
    assert (Outbox.objects.count(), Event.objects.count()) == before
    assert counts(rollout) == {"active": 1, "notified": 9}


def test_the_database_refuses_what_the_tables_do_not_have(release, group, operator):
    rollout = services.start(release, operator, group=group)
    row = rollout.deployments.first()
    Deployment.objects.filter(pk=row.pk).update(state="active")
    for wanted in ("queued", "notified", "failed"):
        with pytest.raises(IntegrityError), transaction.atomic():
            Deployment.objects.filter(pk=row.pk).update(state=wanted)
    with pytest.raises(IntegrityError), transaction.atomic():
        Rollout.objects.filter(pk=rollout.pk).update(state="draft")
    services.cancel(rollout, operator)
    with pytest.raises(IntegrityError), transaction.atomic():
        Rollout.objects.filter(pk=rollout.pk).update(state="running")


@pytest.mark.parametrize("devices", [20, 500])
def test_a_tick_takes_the_same_queries_however_many_devices(release, operator, devices):
    group = Group.objects.create(name="large")
    now = timezone.now()
    group.devices.set([make_device(online=True, last_seen=now) for _ in range(devices)])
    phases = PRESETS["canary"][1]
    rollout = services.start(release, operator, group=group, phases=phases, terms=Terms(most_in_flight=devices // 2))
    services.open_next(rollout, operator)
    rollout.refresh_from_db()
    services.open_next(rollout, operator)
    ends(rollout, count=10)
    Device.objects.update(last_seen=timezone.now())
    with CaptureQueriesContext(connection) as queries:
        tasks.tick()
    assert len([query for query in queries if "SAVEPOINT" not in query["sql"]]) <= 15
    assert rollout.deployments.filter(state="notified").exists()
