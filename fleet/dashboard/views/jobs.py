"""Jobs: long work that can be watched and stopped."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST

from fleet.accounts.roles import Role, requires
from fleet.dashboard.pages import Lazy, act, go, page
from fleet.dashboard.selectors import jobs as select
from fleet.jobs import services
from fleet.jobs.models import Job
from fleet.jobs.queue import title

_PARTS = {
    "job-head": "jobs/parts/head.html",
    "job-trials": "jobs/parts/trials.html",
    "job-candidates": "jobs/parts/candidates.html",
    "job-log": "jobs/parts/log.html",
}


@require_GET
@requires(Role.VIEWER)
def everything(request: HttpRequest) -> HttpResponse:
    context = {"listing": select.jobs(request.GET), "states": select.STATES}
    return page(request, "jobs/jobs.html", context, {"job-list": "jobs/list.html"})


def _job(job_id: int) -> Job:
    return get_object_or_404(Job.objects.select_related("version__model", "device", "created_by"), pk=job_id)


@require_GET
@requires(Role.VIEWER)
def detail(request: HttpRequest, job_id: int) -> HttpResponse:
    job = _job(job_id)
    context = {
        "job": job,
        "title": title(job),
        "open": job.state in Job.OPEN,
        "lazy": Lazy(
            trials=lambda: select.trials(job), candidates=lambda: select.candidates(job), log=lambda: select.log(job)
        ),
    }
    return page(request, "jobs/job.html", context, _PARTS)


@require_POST
@requires(Role.OPERATOR)
def steer(request: HttpRequest, job_id: int) -> HttpResponse:
    """`do` is cancel or retry."""
    job = _job(job_id)
    leads_to = [job.pk]

    def cancel() -> str:
        services.cancel(job, request.user)
        return gettext("Job {job} was told to stop.").format(job=job.pk)

    def retry() -> str:
        again = services.retry(job, request.user)
        leads_to[:] = [again.pk]
        return gettext("Job {job} tries it again.").format(job=again.pk)

    order = {"cancel": cancel, "retry": retry}.get(request.POST.get("do", ""))
    if order is None:
        raise Http404("A job can be told to cancel or retry.")
    act(request, order)
    return go(request, "jobs.detail", *leads_to)
