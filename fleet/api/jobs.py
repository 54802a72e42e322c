"""Long work."""

from typing import Annotated, Literal

from django.shortcuts import get_object_or_404
from ninja import Field, Router, Status
from ninja.pagination import paginate

from fleet.accounts.roles import Role
from fleet.api.auth import allow
from fleet.api.lists import LAST, Paged
from fleet.api.schemas import JobOut, Problem
from fleet.jobs import queue, services
from fleet.jobs.models import Job

JobState = Literal[tuple(value for value, _ in Job.STATES)]

router = Router(tags=["jobs"])
WRONG = {409: Problem}


def out(job: Job) -> Job:
    job.title = queue.title(job)
    return job


def _jobs():
    return Job.objects.select_related("version__model", "device")


class _Titled(Paged):
    def paginate_queryset(self, queryset, pagination, **params):
        page = super().paginate_queryset(queryset, pagination, **params)
        page["items"] = [out(job) for job in page["items"]]
        return page


@router.get("/jobs", response=list[JobOut])
@paginate(_Titled)
def jobs(request, state: JobState | None = None):
    rows = _jobs()
    return rows.filter(state=state) if state else rows


@router.get("/jobs/{job_id}", response=JobOut)
def job(request, job_id: int):
    return out(get_object_or_404(_jobs(), pk=job_id))


@router.get("/jobs/{job_id}/log", response=list[str])
def log(request, job_id: int, after: Annotated[int, Field(ge=0, le=LAST)] = 0):
    """The lines of its log, oldest first, 1,000 at most; `after` skips the first ones."""
    return list(get_object_or_404(Job, pk=job_id).lines.values_list("text", flat=True)[after : after + 1000])


@router.post("/jobs/{job_id}/cancel", response={200: JobOut, **WRONG}, auth=allow(Role.OPERATOR))
def cancel(request, job_id: int):
    services.cancel(get_object_or_404(_jobs(), pk=job_id), request.user)
    return job(request, job_id)


@router.post("/jobs/{job_id}/retry", response={201: JobOut, **WRONG}, auth=allow(Role.OPERATOR))
def retry(request, job_id: int):
    return Status(201, out(services.retry(get_object_or_404(_jobs(), pk=job_id), request.user)))
