"""A page asks the database as often for 500 devices as for 10."""

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from fleet.devices.models import Device
from fleet.jobs.models import Job
from fleet.rollouts.models import Rollout

MOST = 12
PAGES = (
    "/",
    "/devices",
    "/devices?per=100&sort=-version",
    "/devices?q=cam&class=embedded&state=online&group=lab&admission=accepted&simulated=no&sort=-p95",
    "/devices/d-00000000",
    "/groups",
    "/groups/lab",
    "/enrollment",
    "/models",
    "/models/tabletop",
    "/rollouts",
    "/rollouts/{rollout}",
    "/rollouts/{rollout}?kind=offline&q=a",
    "/rollouts/new?release={release}&group=factory-floor",
    "/jobs",
    "/jobs/{job}",
    "/events",
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
    assert {address: number for address, number in many.items() if number > MOST} == {}


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
