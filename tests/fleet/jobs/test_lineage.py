"""Where a trial comes from stays true, whoever asks for it again."""

import importlib

import pytest
from django.apps import apps

from fleet.catalog.models import Trial
from fleet.jobs import optimize
from fleet.jobs.models import Job
from fleet.optimizer import contract
from tests.fleet.builders import make_version

pytestmark = pytest.mark.django_db

GATES = {"latency_ms": 100.0, "loss_points": 2.0, "loss_high": None}


def found(at: str, p50: float = 1.0, verdict: contract.Verdict = "won") -> contract.Outcome:
    """What a search gives back: one trial, measured at that time."""
    trial = contract.Trial(
        name="fp16 storage",
        key="k1",
        recipe={"store": {"bits": 16}},
        figures={"bytes": 1000, "p50_ms": p50},
        lineage={"input": "ab" * 32, "tools": {"onnx": "1"}, "measured_at": at, "machine": "bench-1"},
        verdict=verdict,
        reason="It is the least.",
    )
    return contract.Outcome(trials=[trial], winner=None, summary="", lineage={"input": "ab" * 32}, gates=GATES, log=[])


def kept(version, by, outcome) -> tuple[Job, Trial]:
    job = Job.objects.create(kind="optimize", version=version, device_class="mobile", created_by=by)
    job.result = optimize._keep(job, outcome)
    return job, Trial.objects.get()


def test_a_trial_keeps_what_it_was_measured_from_and_for_whom(operator):
    job, trial = kept(make_version(), operator, found("2026-11-20T08:30:00+00:00"))
    assert trial.lineage["input"] == "ab" * 32
    assert (trial.lineage["machine"], trial.lineage["tools"]) == ("bench-1", {"onnx": "1"})
    assert (trial.lineage["job"], trial.lineage["asked_by"]) == (job.pk, operator.username)
    assert trial.lineage["asked_at"] == job.created_at.isoformat(timespec="seconds")
    assert job.result["gates"] == GATES


def test_a_later_job_that_finds_it_judges_it_anew_and_leaves_its_lineage(operator, admin):
    version = make_version()
    first, trial = kept(version, operator, found("2026-11-20T08:30:00+00:00"))
    before = trial.lineage
    second, trial = kept(version, admin, found("2026-11-20T08:30:00+00:00", verdict="lost"))
    assert trial.lineage == before
    assert (trial.lineage["job"], trial.lineage["asked_by"]) == (first.pk, operator.username)
    assert (trial.job, trial.verdict) == (second, "lost")


def test_a_later_job_that_measures_it_again_has_a_lineage_of_its_own(operator, admin):
    version = make_version()
    kept(version, operator, found("2026-11-20T08:30:00+00:00"))
    second, trial = kept(version, admin, found("2026-11-21T08:30:00+00:00", p50=2.0))
    assert (trial.lineage["job"], trial.lineage["asked_by"]) == (second.pk, admin.username)
    assert trial.lineage["measured_at"] == "2026-11-21T08:30:00+00:00"
    assert trial.figures["p50_ms"] == 2.0


def test_trials_from_before_take_over_what_their_job_knew(operator):
    version = make_version()
    job = Job.objects.create(
        kind="optimize",
        version=version,
        device_class="mobile",
        created_by=operator,
        result={"lineage": {"input": "ab"}},
    )
    old = Trial.objects.create(version=version, device_class="mobile", key="k", name="int8", verdict="won", job=job)
    alone = Trial.objects.create(version=version, device_class="mobile", key="l", name="int8", verdict="won")
    importlib.import_module("fleet.catalog.migrations.0003_trial_lineage").take_over(apps, None)
    old.refresh_from_db()
    alone.refresh_from_db()
    assert (old.lineage["input"], old.lineage["job"], old.lineage["asked_by"]) == ("ab", job.pk, operator.username)
    assert alone.lineage == {}
