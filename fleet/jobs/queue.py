"""A job's life: queued, claimed, kept alive, ended. Each step is a conditional update: two workers cannot both win."""

import secrets
from datetime import datetime, timedelta

from django.db import models
from django.db.models import F
from django.utils import timezone

from fleet.audit.services import announce, record
from fleet.jobs.models import Job, JobLine

#: A running job whose heartbeat is older than this has lost its worker.
LOST_AFTER = timedelta(seconds=20)
#: A queued job that nobody claimed for this long has lost its message.
WAKE_AFTER = timedelta(seconds=15)
MAX_ATTEMPTS = 3


class Lost(Exception):  # noqa: N818  # it reads as what happened: `except Lost`
    """This worker no longer holds the job: somebody else has claimed or ended it."""


class Canceled(Exception):  # noqa: N818  # it reads as what happened: `except Canceled`
    """A person asked for the job to end."""


def claim(job_id: int) -> Job | None:
    """Take a queued job; None when it is not to be had (done, canceled, or another worker was first)."""
    now = timezone.now()
    token = secrets.token_hex(16)
    won = Job.objects.filter(pk=job_id, state="queued").update(
        state="running", claim=token, heartbeat_at=now, started_at=now, attempts=F("attempts") + 1, reason=""
    )
    if not won:
        return None
    job = Job.objects.select_related("version__model", "device").get(pk=job_id)
    log(job, f"Started, attempt {job.attempts} of {MAX_ATTEMPTS}.")
    tell(job)
    return job


def beat(job: Job, **changes: object) -> None:
    """Keep the claim fresh, and store progress. Raises Lost or Canceled when the worker has to stop."""
    held = Job.objects.filter(pk=job.pk, claim=job.claim, state="running")
    if not held.update(heartbeat_at=timezone.now(), **changes):
        raise Lost
    if Job.objects.filter(pk=job.pk, cancel_requested=True).exists():
        raise Canceled


def log(job: Job, text: str, level: str = "info") -> None:
    JobLine.objects.create(job=job, text=text[:2000], level=level)


def finish(job: Job, state: str, reason: str = "", result: dict | None = None) -> bool:
    """End a job that this worker holds. False when it was no longer its to end."""
    won = Job.objects.filter(pk=job.pk, claim=job.claim, state="running").update(
        state=state,
        reason=reason[:1000],
        result=result or {},
        finished_at=timezone.now(),
        progress=1 if state == "succeeded" else F("progress"),
    )
    if won:
        level = {"succeeded": "ok", "failed": "bad"}.get(state, "warn")
        log(job, reason or state, "error" if state == "failed" else "info")
        record(
            f"job.{state}", f"{title(job)} {state}", level=level, detail=reason, actor=job.created_by, **subjects(job)
        )
    return bool(won)


def lost(now: datetime) -> models.QuerySet[Job]:
    return Job.objects.filter(state="running", heartbeat_at__lt=now - LOST_AFTER)


def asleep(now: datetime) -> models.QuerySet[Job]:
    return Job.objects.filter(state="queued", created_at__lt=now - WAKE_AFTER)


def title(job: Job) -> str:
    """What the job does, in words."""
    if job.kind == "optimize":
        return f"Optimizing {job.version} for {job.device_class.replace('_', ' ')}"
    return f"Re-optimizing {job.device.name}" if job.device else "Re-optimizing a device"


def subjects(job: Job) -> dict:
    return {"job": job, "version": job.version, "device": job.device}


def tell(job: Job) -> None:
    """Open pages that show this job look again."""
    topics = [f"job:{job.pk}", "jobs"]
    if job.version_id:
        topics.append(f"version:{job.version_id}")
    if job.device_id:
        topics.append(f"device:{job.device_id}")
    announce(*topics)
