"""A job is done once, whoever is told about it and whoever dies."""

from datetime import timedelta

import pytest
from django.utils import timezone

from fleet.errors import Refused
from fleet.jobs import queue, services, tasks
from fleet.jobs.models import Job
from tests.fleet.builders import make_version

pytestmark = pytest.mark.django_db


@pytest.fixture
def woken(monkeypatch):
    """Which jobs a worker was told about. The queue's own transport is walked by the journeys."""
    told = []
    monkeypatch.setattr(tasks, "wake", lambda job_id, kind: told.append(job_id))
    return told


@pytest.fixture
def job(operator, woken, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        made = services.start_optimization(make_version(), "embedded", operator)
    assert woken == [made.pk]
    return made


def test_of_two_deliveries_one_gets_the_job(job):
    assert queue.claim(job.pk) is not None
    assert queue.claim(job.pk) is None


def test_the_same_class_is_not_optimized_twice_at_once(job, operator):
    with pytest.raises(Refused, match="already being optimized for embedded"):
        services.start_optimization(job.version, "embedded", operator)
    services.start_optimization(job.version, "mobile", operator)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"device_class": "mainframe"}, "no device class mainframe"),
        ({"goal": "world peace"}, "balanced, realtime, accuracy"),
        ({"compression": 0.95}, "Compression is 0.95; it must lie"),
        ({"bits": 7}, "Bits is 7; it must be"),
        ({"pruning": 0.9}, "Pruning is 0.9; it must lie"),
        ({"max_success_loss": -1}, "0 to 100 points"),
    ],
)
def test_wrong_settings_are_refused_in_words(operator, given, problem):
    with pytest.raises(Refused, match=problem):
        services.start_optimization(make_version(), **{"device_class": "embedded", "by": operator, **given})


def test_a_worker_that_died_gives_its_job_to_another(job, woken, django_capture_on_commit_callbacks):
    dead = queue.claim(job.pk)
    Job.objects.filter(pk=job.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=1))

    with django_capture_on_commit_callbacks(execute=True):
        assert services.requeue_lost() == 1
    assert woken == [job.pk, job.pk]

    alive = queue.claim(job.pk)
    assert alive.attempts == 2
    with pytest.raises(queue.Lost):
        queue.beat(dead)
    assert not queue.finish(dead, "succeeded"), "the dead worker's late word does not count"
    assert queue.finish(alive, "succeeded")
    assert Job.objects.get(pk=job.pk).state == "succeeded"


def test_a_job_that_kills_every_worker_ends_with_its_reason(job):
    for _ in range(queue.MAX_ATTEMPTS):
        assert queue.claim(job.pk)
        Job.objects.filter(pk=job.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=1))
        services.requeue_lost()
    job.refresh_from_db()
    assert (job.state, job.reason) == ("failed", "its worker died, for the 3. time: not tried again")


def test_a_job_whose_message_was_lost_is_woken_again_but_not_at_every_tick(
    job, woken, django_capture_on_commit_callbacks
):
    Job.objects.filter(pk=job.pk).update(created_at=timezone.now() - timedelta(minutes=1))
    with django_capture_on_commit_callbacks(execute=True):
        services.requeue_lost()
        services.requeue_lost()
    assert woken == [job.pk, job.pk]


def test_cancel_ends_a_queued_job_at_once_and_asks_a_running_one(job, operator):
    services.cancel(job, operator)
    job.refresh_from_db()
    assert job.state == "canceled"
    assert queue.claim(job.pk) is None
    with pytest.raises(Refused, match="already ended"):
        services.cancel(job, operator)

    other = services.retry(job, operator)
    held = queue.claim(other.pk)
    services.cancel(other, operator)
    with pytest.raises(queue.Canceled):
        queue.beat(held)


def test_what_goes_wrong_in_a_job_is_in_its_row(job, monkeypatch):
    from fleet.jobs import optimize

    monkeypatch.setattr(optimize, "run", lambda *_: (_ for _ in ()).throw(RuntimeError("the disk is full")))
    tasks.run(job.pk)
    job.refresh_from_db()
    assert (job.state, job.reason) == ("failed", "the disk is full")
    assert job.events.filter(level="bad").exists()
