"""One version of a model: its variants, its trials, its releases."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST

from fleet.accounts.roles import Role, requires
from fleet.catalog.models import ModelVersion, Release
from fleet.catalog.services import create_release
from fleet.dashboard import listing
from fleet.dashboard.forms.models import OptimizeForm, ReleaseForm
from fleet.dashboard.pages import Lazy, form_again, go, page, saved
from fleet.dashboard.pareto import figure
from fleet.dashboard.selectors import versions as select
from fleet.dashboard.selectors.on_devices import on_devices
from fleet.dashboard.selectors.trials import CLASSES, trials, with_evidence
from fleet.jobs.models import Job
from fleet.jobs.services import start_optimization

_PARTS = {
    "version-compare": "models/parts/compare.html",
    "version-class": "models/parts/class.html",
    "version-work": "models/parts/work.html",
}


def _version(name: str, number: int) -> ModelVersion:
    rows = ModelVersion.objects.select_related("model", "uploaded_by")
    return get_object_or_404(rows, model__name=name, number=number)


@require_GET
@requires(Role.VIEWER)
def detail(request: HttpRequest, name: str, number: int) -> HttpResponse:
    version = _version(name, number)
    lazy = Lazy(
        trials=lambda: trials(version),
        work=lambda: select.by_class(lazy.trials),
        shown=lambda: _shown(lazy.work, listing.choice(request.GET, "class", CLASSES)),
        winners=lambda: [one for one in lazy.work if one.winner],
        comparison=lambda: select.comparison(lazy.work, version.size),
        axis=lambda: select.interval_axis(lazy.work),
        episodes=lambda: select.episodes(lazy.winners),
        table=lambda: with_evidence(
            lazy.shown.trials, on_devices(version, [one.digest for one in lazy.shown.trials]), lazy.releases
        ),
        chart=lambda: _chart(lazy.shown, float(version.card.get("deadline_ms") or settings.DECISION_PROMISE_MS)),
        releases=lambda: select.releases(version),
        rollouts=lambda: select.rollouts(version),
        jobs=lambda: select.jobs(version),
        working=lambda: [job for job in lazy.jobs if job.state in Job.OPEN],
        devices=lambda: select.devices(lazy.trials),
        release_form=lambda: ReleaseForm(version=version),
    )
    context = {
        "version": version,
        "lazy": lazy,
        "optimize_form": OptimizeForm(version=version),
    }
    return page(request, "models/version.html", context, _PARTS)


def _shown(work: list[select.ClassWork], wanted: str) -> select.ClassWork | None:
    return next((one for one in work if one.device_class == wanted), work[0] if work else None)


def _chart(work: select.ClassWork | None, limit_ms: float) -> dict | None:
    """The figure of a class, None when fewer than two of its trials can be drawn."""
    points = work.points if work else []
    return figure(points, work.quality, work.limit_ms(limit_ms), work.gate) if work and len(points) > 1 else None


@require_POST
@requires(Role.OPERATOR)
def optimize(request: HttpRequest, name: str, number: int) -> HttpResponse:
    version = _version(name, number)
    form = OptimizeForm(request.POST, version=version)
    started: list[Job] = []

    def start() -> None:
        started.append(start_optimization(version, by=request.user, **form.settings()))

    if not saved(form, start):
        context = {"version": version, "optimize_form": form}
        return form_again(
            request, "models/forms/optimize.html", context, gettext("Optimize {version}").format(version=version)
        )
    return go(request, "jobs.detail", started[0].pk)


@require_POST
@requires(Role.OPERATOR)
def release(request: HttpRequest, name: str, number: int) -> HttpResponse:
    version = _version(name, number)
    form = ReleaseForm(request.POST, version=version)
    made: list[Release] = []

    def create() -> None:
        given = form.cleaned_data
        confirmed = given.get("confirmed", False)
        made.append(create_release(version, form.chosen, request.user, given["notes"], confirmed=confirmed))

    if not saved(form, create):
        context = {"version": version, "release_form": form}
        return form_again(
            request, "models/forms/release.html", context, gettext("Release {version}").format(version=version)
        )
    return go(request, f"{reverse('rollouts.new')}?release={made[0].pk}")
