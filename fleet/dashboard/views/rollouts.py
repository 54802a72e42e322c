"""Rollouts: looked at, started, steered."""

from dataclasses import dataclass

from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from agent.wire.states import Rollout as RolloutState
from fleet.accounts.roles import Role, requires
from fleet.catalog.models import Release
from fleet.dashboard import listing
from fleet.dashboard.figures import plural
from fleet.dashboard.forms.rollouts import RolloutForm, TransferForm, plans
from fleet.dashboard.pages import Lazy, act, form_again, go, page, saved
from fleet.dashboard.selectors import rollouts as select
from fleet.dashboard.selectors.events import recent
from fleet.dashboard.selectors.progress import KINDS, counted
from fleet.devices.models import Device, Group
from fleet.errors import Refused
from fleet.gateway import limits
from fleet.rollouts import services, steering
from fleet.rollouts.estimate import Estimate, estimate
from fleet.rollouts.models import Rollout, rollout_name
from fleet.rollouts.plan import PRESETS, Terms, checked
from fleet.rollouts.preview import Preview, preview

_PARTS = {
    "rollout-head": "rollouts/parts/head.html",
    "rollout-phases": "rollouts/parts/phases.html",
    "rollout-state": "rollouts/parts/state.html",
    "rollout-devices": "rollouts/parts/devices.html",
    "rollout-why": "rollouts/parts/why.html",
}
_OPEN = (RolloutState.DRAFT, RolloutState.SCHEDULED, RolloutState.RUNNING, RolloutState.PAUSED)
#: A preview of more devices than this shows the first ones and counts the rest.
MOST_PREVIEWED = 200


@require_GET
@requires(Role.VIEWER)
def everything(request: HttpRequest) -> HttpResponse:
    rate = limits.fleet_rate()
    context = {
        "listing": select.rollouts(request.GET, timezone.now()),
        "states": [state.value for state in RolloutState],
        "rate": rate,
        "transfer_form": TransferForm(initial={"rate": rate}),
    }
    return page(request, "rollouts/rollouts.html", context, {"rollout-list": "rollouts/list.html"})


@require_POST
@requires(Role.OPERATOR)
def limit_transfers(request: HttpRequest) -> HttpResponse:
    form = TransferForm(request.POST)
    if not saved(form, lambda: limits.set_fleet_rate(round(form.cleaned_data["rate"]), request.user), "rate"):
        return form_again(
            request, "rollouts/transfer_form.html", {"transfer_form": form}, gettext("Transfers to the fleet")
        )
    return go(request, "rollouts")


def _rollout(rollout_id: int) -> Rollout:
    rows = Rollout.objects.select_related("release__version__model", "group", "created_by", "approved_by", "undoes")
    undoing = Rollout.objects.filter(undoes=OuterRef("pk")).order_by("pk").values("pk")
    rows = rows.annotate(undone=Subquery(undoing[:1]))
    return get_object_or_404(rows, pk=rollout_id)


@require_GET
@requires(Role.VIEWER)
def detail(request: HttpRequest, rollout_id: int) -> HttpResponse:
    rollout = _rollout(rollout_id)
    now = timezone.now()
    lazy = Lazy(
        counted=lambda: counted(rollout, now),
        progress=lambda: lazy.counted.total,
        plans=lambda: list(rollout.phases.all()),
        phases=lambda: select.phase_lines(lazy.plans, lazy.counted),
        decision=lambda: steering.said(rollout, lazy.plans, lazy.counted.policy, now),
        speed=lambda: select.speed(rollout, lazy.plans, lazy.counted.total, now),
        squares=lambda: select.squares(rollout, now) if lazy.progress.total <= select.MOST_SQUARES else [],
        listing=lambda: select.deployments(rollout, request.GET, now),
        failures=lambda: select.failures(rollout),
        waits=lambda: select.waits(rollout, now),
        events=lambda: recent(20, rollout=rollout),
    )
    context = {
        "rollout": rollout,
        "lazy": lazy,
        "kinds": KINDS,
        "open": rollout.state in _OPEN,
        "undone": rollout.undone and rollout_name(rollout.undone),
        "own": rollout.created_by_id == request.user.pk,
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
            return self.group.members()
        return Device.objects.filter(pk__in=[device.pk for device in self.devices]) if self.devices else None


def _wanted(request: HttpRequest, choices: select.Choices) -> _Wanted:
    release = group = None
    number = listing.number(request.GET, "release", 0)
    if number:
        release = Release.objects.select_related("version__model").filter(pk=number).first()
        if release is None:
            raise Http404(f"There is no release {number}.")
    name = listing.text(request.GET, "group")
    if name:
        group = next((group for group in choices.everything if group.name == name), None)
        if group is None:
            raise Http404(f"There is no group {name}.")
    devices = [] if group else list(Device.objects.filter(pk__in=request.GET.getlist("device")[:500], retired_at=None))
    return _Wanted(release, group, devices)


@require_http_methods(["GET", "POST"])
@requires(Role.OPERATOR)
def new(request: HttpRequest) -> HttpResponse:
    """GET chooses and previews; POST to the same address starts what was previewed."""
    choices = select.choices()
    wanted = _wanted(request, choices)
    plan = listing.choice(request.GET, "plan", tuple(name for name, _ in plans()), "once")
    # Typed into the form, and asked for an estimate: the same address, with the form's fields behind it.
    data = request.POST if request.method == "POST" else request.GET if "deadline" in request.GET else None
    form = RolloutForm(data, plan=plan, to_group=not wanted.devices)
    started: list[Rollout] = []

    def start() -> None:
        target = {"group": wanted.group} if wanted.group else {"devices": wanted.devices}
        started.append(
            services.start(
                wanted.release,
                request.user,
                deadline_seconds=form.cleaned_data["deadline"],
                back=form.cleaned_data["back"],
                phases=form.plans(),
                terms=form.terms(),
                **target,
            )
        )

    ready = wanted.release is not None and wanted.target is not None
    if request.method == "POST" and ready and saved(form, start):
        return go(request, "rollouts.detail", started[0].pk)
    lazy = Lazy(
        preview=lambda: preview(wanted.release, wanted.target) if ready else None,
        estimate=lambda: _estimate(form, lazy.preview),
    )
    context = {
        "wanted": wanted,
        "form": form,
        "plan": plan,
        "plans": plans(),
        "choices": choices,
        "lazy": lazy,
        "most": MOST_PREVIEWED,
    }
    status = 422 if request.method == "POST" else 200
    parts = {"new-rollout": "rollouts/new_body.html", "rollout-estimate": "rollouts/parts/estimate.html"}
    return page(request, "rollouts/new.html", context, parts, status=status)


def _estimate(form: RolloutForm, looked: Preview | None) -> Estimate | str:
    """What is asked for would take this; a sentence where it makes no sense yet."""
    if looked is None:
        return ""
    if not form.is_bound:
        return estimate(looked, PRESETS[form.plan][1], Terms()) if form.plan in PRESETS else ""
    if not form.is_valid():
        return " ".join(error for errors in form.errors.values() for error in errors)
    try:
        phases, terms = form.plans(), form.terms()
        return estimate(looked, checked(phases, terms, form.cleaned_data["deadline"], timezone.now()), terms)
    except Refused as problem:
        return str(problem)


@require_POST
@requires(Role.OPERATOR)
def steer(request: HttpRequest, rollout_id: int) -> HttpResponse:
    """`do` is what is to be done: one of `orders` below."""
    rollout = _rollout(rollout_id)
    leads_to = [rollout.pk]

    def pause() -> str:
        services.pause(rollout, request.user)
        return gettext("{rollout} is paused; devices that were told go on.").format(rollout=rollout)

    def resume() -> str:
        services.resume(rollout, request.user)
        return gettext("{rollout} goes on.").format(rollout=rollout)

    def cancel() -> str:
        stopped = services.cancel(rollout, request.user)
        return gettext("{rollout} is canceled; {devices} will not be updated.").format(
            rollout=rollout, devices=plural(stopped, "device")
        )

    def retry() -> str:
        again = services.retry_failed(rollout, request.user)
        leads_to[:] = [again.pk]
        return gettext("{again} tries the devices again that failed in {rollout}.").format(again=again, rollout=rollout)

    def roll_back() -> str:
        undoing = services.roll_back(rollout, request.user)
        leads_to[:] = [undoing.pk]
        return gettext("{undoing} brings the devices back to what they ran before {rollout}.").format(
            undoing=undoing, rollout=rollout
        )

    def approve() -> str:
        services.approve(rollout, request.user)
        return gettext("{rollout} is approved.").format(rollout=rollout)

    def begin() -> str:
        services.begin(rollout, request.user)
        return gettext("{rollout} has begun.").format(rollout=rollout)

    def following() -> str:
        services.open_next(rollout, request.user)
        return gettext("The next phase of {rollout} is open.").format(rollout=rollout)

    orders = {
        "pause": pause,
        "resume": resume,
        "cancel": cancel,
        "retry": retry,
        "back": roll_back,
        "approve": approve,
        "begin": begin,
        "next": following,
    }
    order = orders.get(request.POST.get("do", ""))
    if order is None:
        raise Http404(f"A rollout can be told to {', '.join(orders)}.")
    act(request, order)
    return go(request, "rollouts.detail", *leads_to)
