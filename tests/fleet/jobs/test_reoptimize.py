"""What a device measured decides what it gets."""

import pytest

from agent.wire.messages import Benchmark
from fleet.catalog.models import Release
from fleet.jobs import reoptimize
from fleet.jobs.models import Job
from fleet.rollouts.models import Rollout
from tests.fleet.builders import make_variant, make_version

pytestmark = pytest.mark.django_db


def test_a_version_that_a_person_answered_for_is_not_asked_about_again(device, operator):
    """Its better variant reaches the device without an evaluation set, as its first one did."""
    version = make_version(evaluation="")
    running, better = make_variant(version, "embedded"), make_variant(version, "embedded", "int8", "passed")
    device.active_manifest = running.manifest_digest
    device.save()
    job = Job.objects.create(
        kind="reoptimize", version=version, device=device, device_class="embedded", created_by=operator
    )
    measured = {
        each.manifest_digest: Benchmark(manifest=each.manifest_digest, ok=True, p50=p50, p95=p50, memory=1000)
        for each, p50 in ((running, 9.0), (better, 1.0))
    }

    result = reoptimize._decide(job, [running, better], measured)

    assert result["winner"] == "int8"
    assert list(Release.objects.get().variants.all()) == [better]
    assert Rollout.objects.get(pk=result["rollout"]).release == Release.objects.get()
