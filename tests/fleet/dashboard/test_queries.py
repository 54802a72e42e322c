"""A page asks the database as often for 500 devices as for 10."""

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from fleet.alerts.models import Alert, Rule
from fleet.devices.models import Device, Group
from fleet.jobs.models import Job
from fleet.rollouts.models import Command, Deployment, Rollout

MOST = 12
#: These show more: what each phase is held to, what others wait for, what a rollout would cost.
MORE = {
    "/rollouts/{rollout}": 14,
    "/rollouts/{rollout}?kind=offline&q=a": 14,
    "/rollouts/new?release={release}&group=factory-floor": 15,
    "/rollouts/new?release={release}&group=berlin-cameras": 16,
}
PAGES = (
    "/",
    "/devices",
    "/devices?per=100&sort=-version",
    "/devices?q=cam+class:embedded+online+group:lab+accepted+real+tag:site%3Dberlin&sort=-p95",
    "/devices?q=-group:berlin-cameras+(model:tabletop@1+or+failing+or+updating)",
    "/devices/d-00000000",
    "/versions",
    "/versions?by=group",
    "/compare?kind=class&a=embedded&b=mobile",
    "/groups",
    "/groups/lab",
    "/groups/berlin-cameras",
    "/new-group?query=class:mobile",
    "/new-group/preview?group=berlin-cameras&query=class:mobile+group:lab",
    "/search/complete?q=tag:site%3Db",
    "/search/complete?q=ber",
    "/enrollment",
    "/models",
    "/models/tabletop",
    "/rollouts",
    "/rollouts/{rollout}",
    "/rollouts/{rollout}?kind=offline&q=a",
    "/rollouts/new?release={release}&group=factory-floor",
    "/rollouts/new?release={release}&group=berlin-cameras",
    "/planner?device=d-00000000",
    "/planner?version=tabletop%402&class=mobile",
    "/jobs",
    "/jobs/{job}",
    "/inference",
    "/inference?sort=-refused",
    "/events",
    "/alerts",
    "/alerts?show=recovered&q=group:lab+cam&severity=warning",
    "/alerts/bell",
    "/alerts/rules",
    "/alerts/rules/{rule}",
    "/alerts/silences",
    "/alerts/channels",
    "/find?q=a",
)


@pytest.fixture
def queries_of_a_fleet(sample_fleet, managing):
    """How many queries each page takes with so many devices. The fleet goes again, the browser's session stays."""

    def count(devices: int) -> dict[str, int]:
        found = {}
        with transaction.atomic():
            fleet = sample_fleet(devices)
            names = {
                "rollout": Rollout.objects.get(state="running").pk,
                "release": fleet.releases[1].pk,
                "job": Job.objects.get(state="running").pk,
                "rule": Rule.objects.get(name="Too hot").pk,
            }
            for address in PAGES:
                with CaptureQueriesContext(connection) as queries:
                    assert managing.get(address.format(**names)).status_code == 200
                found[address] = len(queries)
            transaction.set_rollback(True)
        return found

    return count


def test_the_number_of_queries_does_not_grow_with_the_fleet(queries_of_a_fleet):
    few, many = queries_of_a_fleet(10), queries_of_a_fleet(500)
    # A fleet of 10 may lack what costs one query more, as an open deployment on a page; never one for each row.
    assert {address: (few[address], many[address]) for address in PAGES if many[address] > few[address] + 1} == {}
    assert {address: number for address, number in many.items() if number > MORE.get(address, MOST)} == {}


def test_a_device_of_which_there_is_much_to_say_takes_no_more(sample_fleet, managing):
    """An open alert, an update under way, a command and a job that wait, and a group whose query names a group."""
    fleet = sample_fleet(60)
    update = Deployment.objects.filter(state="downloading").select_related("device", "variant__version").first()
    device = update.device
    Device.objects.filter(pk=device.pk).update(desired_manifest=update.variant.manifest_digest)
    Group.objects.create(name="hall-a", query=f"group:{fleet.groups[0].name} class:{device.device_class}")
    now = timezone.now()
    Alert.objects.create(
        name="Too hot", condition="temperature", severity="critical", device=device, subject=device.pk,
        stage="open", since=now, opened_at=now, value=84.0,
    )  # fmt: skip
    Command.objects.create(device=device, kind="ping", state="sent", deadline=now + timedelta(minutes=2))
    Job.objects.create(kind="reoptimize", device=device, created_by=fleet.operator)
    with CaptureQueriesContext(connection) as queries:
        text = managing.get(f"/devices/{device.pk}").text
    for said in ("Too hot", f"Update to {update.variant.version}", "Stop waiting for ping", "hall-a", "tabletop@1"):
        assert said in text, said
    assert len(queries) <= MOST


def test_the_version_page_has_no_query_for_a_trial_nor_for_what_devices_measured_of_it(sample_fleet, managing):
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            assert managing.get("/models/tabletop/2").status_code == 200
        return len(asked)

    version = sample_fleet(60).versions[1]
    before = queries()
    variant = version.variants.filter(device_class="embedded").first()
    for device in Device.objects.all():
        row = {"name": "int8", "manifest": variant.manifest_digest, "p50_ms": 1.0, "p95_ms": 2.0, "memory": 3}
        Job.objects.create(
            kind="reoptimize", state="succeeded", version=version, device=device, result={"candidates": [row]}
        )
    for trial in list(version.trials.all()):
        trial.pk, trial.key = None, f"another {trial.pk}"
        trial.save()
    assert queries() == before <= 15


def test_a_page_of_500_devices_is_quick_to_make(sample_fleet, managing):
    """The list is cut by the database: no more rows are read than are shown."""
    sample_fleet(500)
    with CaptureQueriesContext(connection) as queries:
        managing.get("/devices")
    listing = [query["sql"] for query in queries if '"devices_device"."hardware"' in query["sql"]]
    assert len(listing) == 1
    assert "LIMIT 50" in listing[0]
