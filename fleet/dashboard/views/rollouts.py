"""Rollouts: looked at, started, steered."""

from dataclasses import dataclass

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agent.wire.states import Rollout as RolloutState
from fleet.accounts.roles import Role, requires
from fleet.catalog.models import Release
from fleet.dashboard import listing
from fleet.dashboard.figures import plural
from fleet.dashboard.forms.rollouts import RolloutForm
from fleet.dashboard.pages import Lazy, act, go, page, saved
from fleet.dashboard.selectors import rollouts as select
from fleet.dashboard.selectors.events import recent
from fleet.dashboard.selectors.progress import KINDS, progress
from fleet.devices.models import Device, Group
from fleet.rollouts import services
from fleet.rollouts.models import Rollout
from fleet.rollouts.preview import preview

_PARTS = {
    "rollout-head": "rollouts/parts/head.html",
    "rollout-state": "rollouts/parts/state.html",
    "rollout-devices": "rollouts/parts/devices.html",
    "rollout-why": "rollouts/parts/why.html",
}
#: A preview of more devices than this shows the first ones and counts the rest.
MOST_PREVIEWED = 200


@require_GET
@requires(Role.VIEWER)
def everything(request: HttpRequest) -> HttpResponse:
    context = {
        "listing": select.rollouts(request.GET, timezone.now()),
        "states": [state.value for state in RolloutState],
    }
    return page(request, "rollouts/rollouts.html", context, {"rollout-list": "rollouts/list.html"})


def _rollout(rollout_id: int) -> Rollout:
    rows = Rollout.objects.select_related("release__version__model", "group", "created_by")
    return get_object_or_404(rows, pk=rollout_id)


@require_GET
@requires(Role.VIEWER)
def detail(request: HttpRequest, rollout_id: int) -> HttpResponse:
    rollout = _rollout(rollout_id)
    now = timezone.now()
    lazy = Lazy(
        progress=lambda: progress([rollout], now)[rollout.pk],
        squares=lambda: select.squares(rollout, now),
        listing=lambda: select.deployments(rollout, request.GET, now),
        failures=lambda: select.failures(rollout),
        waits=lambda: select.waits(rollout, now),
        events=lambda: recent(12, rollout=rollout),
    )
    context = {
        "rollout": rollout,
        "lazy": lazy,
        "kinds": KINDS,
        "open": rollout.state in (RolloutState.RUNNING, RolloutState.PAUSED),
    }
    return page(request, "rollouts/rollout.html", context, _PARTS)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a new rollout is asked to be, from the address."""

    release: Release | None
    group: Group | None
    devices: list[Device]

    @property
    def target(self) -> QuerySet[Device] | None:
        if self.group:
            return self.group.devices.all()
        return Device.objects.filter(pk__in=[device.pk for device in self.devices]) if self.devices else None


def _wanted(request: HttpRequest) -> _Wanted:
    release = group = None
    number = listing.number(request.GET, "release", 0)
    if number:
        release = Release.objects.select_related("version__model").filter(pk=number).first()
        if release is None:
            raise Http404(f"There is no release {number}.")
    name = listing.text(request.GET, "group")
    if name:
        group = get_object_or_404(Group, name=name)
    devices = [] if group else list(Device.objects.filter(pk__in=request.GET.getlist("device")[:500], retired_at=None))
    return _Wanted(release, group, devices)


@require_http_methods(["GET", "POST"])
@requires(Role.OPERATOR)
def new(request: HttpRequest) -> HttpResponse:
    """GET chooses and previews; POST to the same address starts what was previewed."""
    wanted = _wanted(request)
    form = RolloutForm(request.POST) if request.method == "POST" else RolloutForm()
    started: list[Rollout] = []

    def start() -> None:
        target = {"group": wanted.group} if wanted.group else {"devices": wanted.devices}
        started.append(
            services.start(
                wanted.release,
                request.user,
                deadline_seconds=form.cleaned_data["deadline"],
                back=form.cleaned_data["back"],
                **target,
            )
        )

    ready = wanted.release is not None and wanted.target is not None
    if request.method == "POST" and ready and saved(form, start):
        return go(request, "rollouts.detail", started[0].pk)
    context = {
        "wanted": wanted,
        "form": form,
        "choices": select.choices(),
        "preview": preview(wanted.release, wanted.target) if ready else None,
        "most": MOST_PREVIEWED,
    }
    status = 422 if request.method == "POST" else 200
    return page(request, "rollouts/new.html", context, {"new-rollout": "rollouts/new_body.html"}, status=status)


@require_POST
@requires(Role.OPERATOR)
def steer(request: HttpRequest, rollout_id: int) -> HttpResponse:
    """`do` is pause, resume, cancel or retry."""
    rollout = _rollout(rollout_id)
    leads_to = [rollout.pk]

    def pause() -> str:
        services.pause(rollout, request.user)
        return f"{rollout} is paused; devices that were told go on."

    def resume() -> str:
        services.resume(rollout, request.user)
        return f"{rollout} goes on."

    def cancel() -> str:
        stopped = services.cancel(rollout, request.user)
        return f"{rollout} is canceled; {plural(stopped, 'device')} will not be updated."

    def retry() -> str:
        again = services.retry_failed(rollout, request.user)
        leads_to[:] = [again.pk]
        return f"{again} tries the devices again that failed in {rollout}."

    order = {"pause": pause, "resume": resume, "cancel": cancel, "retry": retry}.get(request.POST.get("do", ""))
    if order is None:
        raise Http404("A rollout can be told to pause, resume, cancel or retry.")
    act(request, order)
    return go(request, "rollouts.detail", *leads_to)
