"""Jobs: followed line by line, stopped, tried again."""

import re

import pytest

from fleet.catalog.models import Trial
from fleet.dashboard.selectors.jobs import MOST_LINES
from fleet.devices.models import Device
from fleet.jobs import queue, services
from fleet.jobs.models import Job, JobLine
from tests.fleet.builders import make_variant, make_version


@pytest.fixture
def job(operator) -> Job:
    return services.start_optimization(make_version(), "mobile", operator, max_success_loss=3)


def flat(answer) -> str:
    return re.sub(r"\s+", " ", answer.text)


def test_a_queued_job_waits_for_a_worker(viewer, job):
    text = flat(viewer.get(f"/jobs/{job.pk}"))
    assert "Optimizing arm@1 for mobile" in text
    assert "waiting for a worker" in text
    assert "max success loss: 3" in text
    assert "No verdicts yet" in text


def test_step_progress_log_and_trials_are_shown_as_they_come(viewer, job):
    claimed = queue.claim(job.pk)
    queue.beat(claimed, step="Exporting", progress=0.25)
    queue.log(claimed, "Something looks odd <b>", "warn")
    Trial.objects.create(
        version=job.version,
        job=job,
        device_class="mobile",
        key="k",
        name="int8",
        verdict="lost",
        reason="slower",
        figures={"p50_ms": 1.5},
    )
    text = flat(viewer.get(f"/jobs/{job.pk}"))
    assert "<b>Exporting</b>" in text
    assert re.search(r">25.%<", text)
    assert "Something looks odd &lt;b&gt;" in text
    assert 'class="lw"' in text
    assert "1 trial" in text
    assert "slower" in text


def test_a_long_log_shows_its_newest_lines_in_order(viewer, job):
    JobLine.objects.bulk_create(JobLine(job=job, text=f"line {number:04}") for number in range(MOST_LINES + 50))
    text = viewer.get(f"/jobs/{job.pk}").text
    shown = re.findall(r"line (\d{4})", text)
    assert shown == [f"{number:04}" for number in range(50, MOST_LINES + 50)]
    assert f"the newest {MOST_LINES} lines" in flat(viewer.get(f"/jobs/{job.pk}"))


def test_a_job_that_ended_says_how(viewer, job):
    claimed = queue.claim(job.pk)
    queue.finish(claimed, "succeeded", result={"summary": "int8 won: 62 % smaller"})
    assert "int8 won: 62 % smaller" in viewer.get(f"/jobs/{job.pk}").text
    Job.objects.update(state="failed", reason="out of memory")
    assert "out of memory" in viewer.get(f"/jobs/{job.pk}").text


@pytest.fixture
def measured(device, operator) -> Job:
    """A re-optimization whose device measured two candidates; a third did not load."""
    variant = make_variant(make_version(), "embedded")
    Device.objects.filter(pk=device.pk).update(active_manifest=variant.manifest_digest)
    device.refresh_from_db()
    job = services.start_reoptimization(device, operator)
    rows = [
        {
            "name": "fp16",
            "manifest": "a",
            "bytes": 2_000_000,
            "p50_ms": 12.5,
            "p95_ms": 15.1,
            "memory": 2**26,
            "score": 0.4,
        },
        {
            "name": "int8",
            "manifest": "b",
            "bytes": 1_000_000,
            "p50_ms": 9.25,
            "p95_ms": 11,
            "memory": 2**25,
            "score": 0.2,
        },
        {"name": "int4", "manifest": "c", "bytes": 500_000, "reason": "it did not load"},
    ]
    queue.finish(queue.claim(job.pk), "succeeded", "int8 is better.", {"candidates": rows, "winner_manifest": "b"})
    return job


def test_what_a_device_measured_is_shown_as_a_table_with_its_winner(viewer, measured):
    text = flat(viewer.get(f"/jobs/{measured.pk}"))
    assert f"measured on {measured.device.name} itself, the least score wins" in text
    assert "This job measured nothing" not in text
    assert "0 trials" not in text
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in re.findall(r'<tr id="jc-\d">(.*?)</tr>', text)]
    assert [" ".join(row) for row in rows] == [
        "fp16 12.5 15.1 2 MB 64 MiB 0.400 Lost",
        "int8 9.25 11 1 MB 32 MiB 0.200 Chosen",
        "int4 Not measured: it did not load Failed",
    ]


def test_a_re_optimization_that_has_no_answer_yet_says_what_it_waits_for(viewer, measured):
    Job.objects.update(state="running", result={})
    assert "Nothing measured yet" in viewer.get(f"/jobs/{measured.pk}").text
    Job.objects.update(state="failed")
    assert "Nothing was measured on the device" in viewer.get(f"/jobs/{measured.pk}").text


def steer(client, job, does):
    return client.post(f"/jobs/{job.pk}/steer", {"do": does}, follow=True)


def test_a_job_is_canceled_and_tried_again(operating, job):
    assert "was told to stop" in steer(operating, job, "cancel").text
    job.refresh_from_db()
    assert job.state == "canceled"
    assert "This job has already ended." in steer(operating, job, "cancel").text
    answer = steer(operating, job, "retry")
    again = Job.objects.exclude(pk=job.pk).get()
    assert answer.redirect_chain[-1][0] == f"/jobs/{again.pk}"
    assert again.params == job.params


def test_a_running_job_that_was_told_to_stop_says_that_it_is_stopping(operating, job):
    queue.claim(job.pk)
    text = steer(operating, job, "cancel").text
    assert "Stopping…" in text
    assert re.search(r'type="submit"\s+disabled', text)


def test_what_cannot_be_done_is_said(operating, job):
    assert "Only a failed or canceled job can be repeated." in steer(operating, job, "retry").text
    assert steer(operating, job, "explode").status_code == 404


def test_the_list_filters_by_state(viewer, job):
    assert f"/jobs/{job.pk}" in viewer.get("/jobs?state=queued").text
    assert "No job is in this state" in viewer.get("/jobs?state=failed").text
    assert f"/jobs/{job.pk}" in viewer.get("/jobs?state=%00&page=zero").text
