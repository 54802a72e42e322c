"""An operator rolls out, changes their mind, and devices answer."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agent.wire import codec, topics
from agent.wire.messages import DeploymentReport, Desired, Sample, State, Telemetry
from agent.wire.states import DEPLOYMENT_OPEN
from fleet.devices import reports as device_reports
from fleet.devices.models import Device, Group
from fleet.errors import Refused
from fleet.gateway.models import Outbox
from fleet.rollouts import reports, services, tasks, waiting
from fleet.rollouts.models import Deployment, Rollout
from fleet.rollouts.plan import Terms
from fleet.telemetry import ingest
from fleet.telemetry.summing import take_up_all
from tests.conftest import make_device
from tests.fleet.builders import make_release

pytestmark = pytest.mark.django_db
MIB = 1024**2


@pytest.fixture
def group():
    group = Group.objects.create(name="berlin")
    group.devices.set([make_device(), make_device(), make_device(device_class="mobile")])
    return group


@pytest.fixture
def release():
    return make_release()


def says(device, deployment, state, seq, boot="boot-1", **more):
    """The device reports where its deployment stands."""
    report = DeploymentReport(deployment_id=deployment.pk, boot_id=boot, seq=seq, at=0, state=state, **more)
    fresh = Device.objects.get(pk=device.pk)
    refused = reports.deployments([(fresh, report, False)], timezone.now())
    deployment.refresh_from_db()
    return refused


def desired_of(device) -> Desired:
    """The newest desired state on its way to the device."""
    row = Outbox.objects.filter(topic=topics.down(device.pk, "desired")).last()
    return codec.decode(bytes(row.payload), Desired)


def test_starting_writes_each_desired_state_and_the_manifests_it_names(release, group, operator):
    rollout = services.start(release, operator, group=group)

    assert rollout.deployments.filter(state="notified").count() == 3
    for deployment in rollout.deployments.select_related("device", "variant"):
        desired = desired_of(deployment.device)
        assert desired.deployment_id == deployment.pk
        assert desired.manifest == deployment.variant.manifest_digest
        assert deployment.variant.device_class == deployment.device.device_class
        assert Outbox.objects.filter(topic=topics.manifest(desired.manifest), retain=True).exists()
    assert Outbox.objects.filter(topic__endswith="/desired", retain=True).count() == 3


def test_devices_that_already_run_it_or_cannot_are_left_out_with_the_reason(group, operator):
    release = make_release(classes=("embedded",))
    runs_it, tiny, mobile = group.devices.order_by("name")
    variant = release.variants.get()
    Device.objects.filter(pk=runs_it.pk).update(active_manifest=variant.manifest_digest)
    Device.objects.filter(pk=tiny.pk).update(hardware={"storage_bytes": 1000})
    group.devices.add(updated := make_device())

    rollout = services.start(release, operator, group=group)

    found = {d.device_id: (d.state, d.reason) for d in rollout.deployments.all()}
    assert found[runs_it.pk] == ("skipped", "It already runs this variant.")
    assert found[tiny.pk][1].startswith("The update writes 3.8 MiB and leaves 32.0 MiB free; ")
    assert found[mobile.pk] == ("skipped", "The release has no variant for mobile devices.")
    assert found[updated.pk][0] == "notified"


def test_a_rollout_that_everybody_finished_is_finished(release, group, operator):
    rollout = services.start(release, operator, group=group)
    for deployment in rollout.deployments.select_related("device"):
        for seq, state in enumerate(("downloading", "verified", "installing", "self_testing", "watching", "active")):
            assert says(deployment.device, deployment, state, seq, progress=1 if state == "verified" else 0) == []
        assert deployment.state == "active"
        assert [t.new for t in deployment.transitions.all()] == [
            *("notified", "downloading", "verified", "installing", "self_testing", "watching", "active")
        ]

    tasks.tick()

    rollout.refresh_from_db()
    assert (rollout.state, rollout.reason) == ("finished", "3 of 3 devices took it")


def test_a_lost_report_does_not_stop_a_deployment_and_an_old_one_does_not_move_it_back(release, group, operator):
    deployment = services.start(release, operator, group=group).deployments.select_related("device")[0]
    says(deployment.device, deployment, "watching", 5)
    assert deployment.state == "watching"
    says(deployment.device, deployment, "downloading", 2)
    assert deployment.state == "watching"
    says(deployment.device, deployment, "downloading", 0, boot="boot-2")
    assert deployment.state == "downloading", "a new boot may resume earlier"


def test_another_devices_deployment_is_refused(release, group, operator):
    rollout = services.start(release, operator, group=group)
    mine, other = rollout.deployments.select_related("device")[:2]
    refused = says(other.device, mine, "active", 9)
    assert "is not one of this device" in refused[0][1]
    assert mine.state == "notified"


def test_a_failed_self_test_says_why_and_the_old_variant_is_desired_again(release, group, operator):
    device = group.devices.order_by("name").first()
    Device.objects.filter(pk=device.pk).update(active_manifest="cd" * 32)
    deployment = services.start(release, operator, group=group).deployments.get(device=device)
    says(device, deployment, "failed", 4, reason="golden observation 3 is off by 0.4, allowed is 0.001")

    assert deployment.state == "failed"
    assert "off by 0.4" in deployment.reason
    assert desired_of(device).manifest == "cd" * 32
    assert desired_of(device).deployment_id == ""


def test_cancel_takes_back_what_has_not_been_installed_and_lets_the_rest_finish(release, group, operator):
    rollout = services.start(release, operator, group=group)
    waits, installs, done = rollout.deployments.select_related("device").order_by("device__name")
    says(installs.device, installs, "installing", 3)
    says(done.device, done, "active", 6)

    assert services.cancel(rollout, operator) == 1

    for row in (waits, installs, done):
        row.refresh_from_db()
    assert [waits.state, installs.state, done.state] == ["canceled", "installing", "active"]
    assert desired_of(waits.device).manifest == ""
    with pytest.raises(Refused, match="is canceled; it cannot become canceled"):
        services.cancel(rollout, operator)


def test_a_newer_rollout_takes_over_where_it_can_and_queues_behind_where_it_cannot(group, operator):
    old = services.start(make_release(), operator, group=group)
    turns, busy, _ = old.deployments.select_related("device").order_by("device__name")
    says(busy.device, busy, "self_testing", 3)

    new = services.start(make_release(old.release.version), operator, group=group)

    turns.refresh_from_db()
    assert (turns.state, turns.reason) == ("superseded", f"{new} took over")
    behind = new.deployments.get(device=busy.device)
    assert behind.state == "queued"
    says(busy.device, busy, "active", 6)
    tasks.tick()
    behind.refresh_from_db()
    assert behind.state == "notified"


def test_a_paused_rollout_tells_no_further_device(group, release, operator):
    group.devices.update(online=True, last_seen=timezone.now())
    rollout = services.start(release, operator, group=group, terms=Terms(most_in_flight=2))
    services.pause(rollout, operator)
    says((told := rollout.deployments.filter(state="notified").first()).device, told, "active", 6)
    tasks.tick()
    deployment = rollout.deployments.select_related("rollout", "device").get(state="queued")
    assert waiting.reason(deployment, deployment.device, timezone.now()) == "Waiting: the rollout is paused."
    rollout.refresh_from_db()
    services.resume(rollout, operator)
    deployment.refresh_from_db()
    assert deployment.state == "notified"


def test_every_open_state_has_a_reason_to_wait(release, group, operator):
    rollout = services.start(release, operator, group=group)
    deployment = rollout.deployments.select_related("device", "rollout").first()
    now = timezone.now()
    for state in DEPLOYMENT_OPEN:
        deployment.state = state
        assert waiting.reason(deployment, deployment.device, now).endswith(".")
    deployment.state = "notified"
    deployment.device.last_seen = now - timedelta(hours=3)
    assert waiting.reason(deployment, deployment.device, now) == "Waiting for the device: last seen 3 h ago."


def test_what_does_not_end_before_its_deadline_is_timed_out(release, group, operator):
    rollout = services.start(release, operator, group=group, deadline_seconds=60)
    Deployment.objects.update(deadline=timezone.now() - timedelta(seconds=1))
    tasks.tick()
    rollout.refresh_from_db()
    assert set(rollout.deployments.values_list("state", flat=True)) == {"timed_out"}
    assert rollout.reason == "0 of 3 devices took it, 3 timed out"


def test_two_ticks_at_once_do_no_harm(release, group, operator):
    rollout = services.start(release, operator, group=group)
    before = Outbox.objects.count()
    tasks.tick()
    tasks.tick()
    assert Outbox.objects.count() == before
    assert Rollout.objects.get(pk=rollout.pk).state == "running"


def test_a_device_that_leaves_ends_its_deployment(release, group, operator):
    from fleet.devices.services import retire

    rollout = services.start(release, operator, group=group)
    device = group.devices.order_by("name").first()
    retire(device, operator)
    assert rollout.deployments.get(device=device).state == "canceled"


@pytest.mark.parametrize("state", ["downloading", "verified", "installing", "self_testing", "watching"])
def test_a_device_that_is_retired_in_the_middle_of_an_update_did_not_fail(state, release, group, operator):
    from fleet.devices.services import retire

    rollout = services.start(release, operator, group=group)
    gone, *others = rollout.deployments.select_related("device").order_by("device__name")
    says(gone.device, gone, state, 3)
    retire(gone.device, operator)

    gone.refresh_from_db()
    assert (gone.state, gone.reason) == ("canceled", f"{gone.device.name} was retired")
    says(gone.device, gone, "active", 9)
    assert gone.state == "canceled", "what it still says on its way out counts no more"
    for other in others:
        says(other.device, other, "active", 6)
    tasks.tick()
    rollout.refresh_from_db()
    assert rollout.reason == "2 of 3 devices took it, 1 canceled"


def test_only_devices_in_service_are_tried_again(release, group, operator):
    from fleet.devices.services import reject, retire

    rollout = services.start(release, operator, group=group)
    retired, rejected, stays = [row.device for row in rollout.deployments.select_related("device")]
    rollout.deployments.update(state="failed")
    retire(retired, operator)
    reject([rejected], operator)

    again = services.retry_failed(rollout, operator)

    assert [row.device for row in again.deployments.all()] == [stays]
    services.cancel(again, operator)
    retire(stays, operator)
    with pytest.raises(Refused, match=r"No device that failed in this rollout is still in service\."):
        services.retry_failed(rollout, operator)


def test_the_end_tells_who_took_it_who_had_it_and_who_was_left_out(group, operator):
    release = make_release(classes=("embedded",))
    takes_it, has_it, _ = group.devices.order_by("name")
    Device.objects.filter(pk=has_it.pk).update(active_manifest=release.variants.get().manifest_digest)
    rollout = services.start(release, operator, group=group)
    says(takes_it, rollout.deployments.get(device=takes_it), "active", 6)

    tasks.tick()

    rollout.refresh_from_db()
    assert rollout.reason == "1 of 3 devices took it, 1 already ran it, 1 was left out"


def test_a_rollout_that_would_update_nothing_does_not_start_and_says_why(group, operator):
    release = make_release(classes=("embedded",))
    first, second, mobile = group.devices.order_by("name")
    digest = release.variants.get().manifest_digest

    def refused(**target) -> str:
        with pytest.raises(Refused) as problem:
            services.start(release, operator, **target)
        return str(problem.value)

    Device.objects.filter(pk__in=[first.pk, second.pk]).update(active_manifest=digest)
    has_no_variant = "the release has no variant for mobile devices."
    assert refused(devices=[first]) == f"{first.name} already runs it."
    assert refused(devices=[mobile]) == f"{mobile.name} cannot take it: {has_no_variant}"
    assert refused(devices=[first, second]) == "Every one of the 2 devices already runs it."
    assert refused(group=group) == f"No device in berlin can take it: 2 already run it; {has_no_variant}"
    group.devices.remove(mobile)
    assert refused(group=group) == "Every device in berlin already runs it."
    group.devices.set([mobile])
    assert refused(group=group) == f"No device in berlin can take it: {has_no_variant}"
    assert not Rollout.objects.exists()


def test_who_waits_behind_another_rollout_is_told_which(group, operator, django_assert_num_queries):
    old = services.start(make_release(), operator, group=group)
    for deployment in old.deployments.select_related("device"):
        says(deployment.device, deployment, "installing", 3)
    new = services.start(make_release(old.release.version), operator, group=group)

    with django_assert_num_queries(1):
        rows = list(waiting.with_ahead(new.deployments.select_related("device", "rollout")))
        said = {waiting.reason(row, row.device, timezone.now()) for row in rows}

    assert len(rows) == 3
    assert said == {f"Waiting for {old}, which is installing on this device."}


def test_a_canceled_rollout_is_called_canceled_in_the_log(release, group, operator):
    from fleet.audit.models import Event

    rollout = services.start(release, operator, group=group)
    services.cancel(rollout, operator)
    assert Event.objects.get(kind="rollout.aborted").text == f"{rollout} is canceled"


@pytest.mark.parametrize("count", [10, 1000])
def test_starting_costs_the_same_queries_however_many_devices(count, release, operator):
    group = Group.objects.create(name="large")
    group.devices.set([make_device() for _ in range(count)])
    services.trust.vouch(release.variants.select_related("version"))  # as making a release does
    with CaptureQueriesContext(connection) as queries:
        services.start(release, operator, group=group)
    assert len([query for query in queries if "SAVEPOINT" not in query["sql"]]) <= 25
    assert Outbox.objects.filter(topic__endswith="/desired").count() == count


def test_state_reports_move_the_active_variant_and_reset_its_counters(device):
    Device.objects.filter(pk=device.pk).update(episodes=9, boot_id="boot-1", online=True, state_seq=3)
    device.refresh_from_db()
    from agent.wire.messages import Active

    state = State(online=True, boot_id="boot-1", seq=4, at=1, active=Active(manifest="ef" * 32))
    device_reports.states([(device, state, False)], timezone.now())
    device.refresh_from_db()
    assert (device.active_manifest, device.episodes) == ("ef" * 32, 0)


def test_what_is_free_follows_the_newest_sample(operator):
    device = make_device()
    now = timezone.now()
    for seq, age, used in ((2, 0, 900), (1, 60, 100)):
        sample = Sample(seq=seq, at=now.timestamp() - age, disk_used=used, disk_total=1000)
        ingest.telemetry([(device.pk, Telemetry(boot_id="b", samples=(sample,)))], now)
        take_up_all()
        device.refresh_from_db()
    assert device.storage_free == 100
