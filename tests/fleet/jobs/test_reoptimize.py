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


@pytest.mark.parametrize(
    ("short_of", "winner"), [("memory", "int8"), ("power", "fp16"), ("cpu", "fp16"), ("temperature", "fp16")]
)
def test_what_a_device_is_short_of_decides_as_it_measured_it(device, operator, short_of, winner):
    """int8 takes less memory there and fp16 less time, whatever the objective makes of the two together."""
    version = make_version()
    running, other = make_variant(version, "embedded"), make_variant(version, "embedded", "int8", "passed")
    device.active_manifest = running.manifest_digest
    device.save()
    job = Job.objects.create(
        kind="reoptimize",
        version=version,
        device=device,
        device_class="embedded",
        created_by=operator,
        params={"short_of": short_of},
    )
    measured = {
        running.manifest_digest: Benchmark(manifest=running.manifest_digest, ok=True, p50=2.0, p95=2.0, memory=9000),
        other.manifest_digest: Benchmark(manifest=other.manifest_digest, ok=True, p50=3.0, p95=3.0, memory=1000),
    }

    result = reoptimize._decide(job, [running, other], measured)
    assert result["winner"] == winner


def test_the_lightest_variant_is_what_is_measured_beside_the_running_one(device, operator):
    version = make_version()
    made = {name: make_variant(version, "embedded", name, "passed") for name in ("fp32", "fp16", "int8")}
    for name, memory in (("fp32", 90), ("fp16", 60), ("int8", 30)):
        made[name].manifest["memory_bytes"] = memory
        made[name].save()
    for name, score in (("fp32", 3), ("fp16", 1), ("int8", 2)):
        made[name].trial.score = score
        made[name].trial.save()
    device.active_manifest = made["fp32"].manifest_digest
    device.save()
    job = Job(kind="reoptimize", version=version, device=device, device_class="embedded", created_by=operator)
    assert [each.trial.name for each in reoptimize._candidates(job)] == ["fp32", "fp16"]
    job.params = {"short_of": "memory"}
    assert [each.trial.name for each in reoptimize._candidates(job)] == ["fp32", "int8"]
