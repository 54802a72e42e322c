"""What a device has no room for is not sent to it."""

import pytest

from agent.wire import topics
from agent.wire.hardware import GIB
from fleet.devices.models import Device
from fleet.errors import Refused
from fleet.gateway.models import Outbox
from fleet.rollouts import services, tasks
from fleet.rollouts.models import Deployment, Rollout
from fleet.rollouts.preview import preview
from tests.conftest import make_device
from tests.fleet.builders import make_release
from tests.fleet.rollouts.test_rollout import desired_of

pytestmark = pytest.mark.django_db
MIB = 1024**2


def needs(release, device_class, mib):
    """The variant of a class now takes so much memory."""
    variant = release.variants.get(device_class=device_class)
    variant.manifest["memory_bytes"] = mib * MIB
    variant.save()
    return variant


@pytest.mark.parametrize(
    ("given", "verdict", "reason"),
    [
        (
            {"hardware": {"memory_bytes": 256 * MIB}},
            "blocked",
            "The model needs 210.0 MiB of memory; a model may take 192.0 MiB on this device.",
        ),
        ({"hardware": {"memory_bytes": 280 * MIB}}, "update", "It will be updated."),
        (
            {"storage_free": 35 * MIB},
            "blocked",
            "The update writes 3.8 MiB and leaves 32.0 MiB free; 35.0 MiB are free on this device.",
        ),
        ({"storage_free": 36 * MIB}, "update", "It will be updated."),
        # The storage as a whole says what can be free at most, until a sample says what is.
        ({"hardware": {"storage_bytes": 35 * MIB}}, "blocked", "35.0 MiB are free on this device."),
        ({"hardware": {"storage_bytes": 35 * MIB}, "storage_free": 36 * MIB}, "update", "It will be updated."),
        ({"hardware": {}}, "update", "It will be updated."),
    ],
)
def test_a_device_that_is_too_small_is_never_assigned_to(operator, given, verdict, reason):
    release = make_release()
    needs(release, "embedded", 210)
    small, other = make_device(**given), make_device()
    row = next(row for row in preview(release, Device.objects.all()).rows if row.device == small)
    assert row.verdict == verdict
    assert row.reason.endswith(reason)

    rollout = services.start(release, operator, devices=[small, other])

    state = "skipped" if verdict == "blocked" else "notified"
    assert rollout.deployments.get(device=small).state == state
    assert Outbox.objects.filter(topic=topics.down(small.pk, "desired")).exists() == (verdict == "update")
    assert rollout.deployments.get(device=other).state == "notified"


def test_nothing_is_started_where_nothing_fits_and_the_figure_is_said(operator):
    release = make_release()
    needs(release, "embedded", 210)
    device = make_device(hardware={"memory_bytes": 128 * MIB})
    with pytest.raises(Refused, match=r"needs 210\.0 MiB of memory; a model may take 96\.0 MiB on this device\."):
        services.start(release, operator, devices=[device])
    assert not Rollout.objects.exists()


def test_what_has_no_room_any_more_when_its_turn_comes_is_left_out(group, operator):
    first = services.start(make_release(), operator, group=group)
    device = group.devices.filter(device_class="embedded").first()
    Deployment.objects.filter(rollout=first, device=device).update(state="installing")
    second = services.start(make_release(first.release.version), operator, group=group)
    waiting = second.deployments.get(device=device)
    assert waiting.state == "queued"
    Deployment.objects.filter(rollout=first, device=device).update(state="active")
    Device.objects.filter(pk=device.pk).update(storage_free=34 * MIB)
    before = desired_of(device)

    tasks.tick()

    waiting.refresh_from_db()
    assert (waiting.state, waiting.finished_at is None) == ("skipped", False)
    assert waiting.reason.endswith("34.0 MiB are free on this device.")
    assert desired_of(device) == before


@pytest.mark.parametrize("devices", [2, 40])
def test_a_preview_takes_four_queries_however_many_devices_there_are(devices, django_assert_num_queries):
    release = make_release()
    needs(release, "embedded", 210)
    for number in range(devices):
        make_device(hardware={"memory_bytes": (128 + number) * MIB, "storage_bytes": GIB}, storage_free=GIB)
    with django_assert_num_queries(4):
        looked = preview(release, Device.objects.all())
    assert looked.counts == {"blocked": devices}
