"""One device, and the orders one can give it."""

import msgspec
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST

from agent.wire.messages import Config
from agent.wire.states import COMMAND_NEXT
from fleet.accounts.roles import Role, requires
from fleet.dashboard import listing
from fleet.dashboard.figures import share
from fleet.dashboard.forms.devices import ConfigForm, MaintenanceForm, RenameForm, TagsForm
from fleet.dashboard.pages import Lazy, act, back, form_again, go, page, saved
from fleet.dashboard.selectors import device as select
from fleet.dashboard.selectors.alerts import of_device
from fleet.dashboard.selectors.events import recent
from fleet.dashboard.selectors.marks import KINDS as MARKS
from fleet.dashboard.selectors.marks import marks
from fleet.dashboard.selectors.series import asked, series
from fleet.dashboard.series import DEFAULT_RANGE, RANGES
from fleet.devices import services, tagging
from fleet.devices.liveness import liveness
from fleet.devices.models import Device
from fleet.errors import Refused
from fleet.jobs.services import start_reoptimization
from fleet.rollouts.models import Command
from fleet.rollouts.services import cancel_command, send_command

COMMAND_OPEN = frozenset(COMMAND_NEXT)
_PARTS = {
    "device-head": "devices/parts/head.html",
    "device-actions": "devices/actions.html",
    "device-alerts": "devices/parts/alerts.html",
    "device-figures": "devices/parts/figures.html",
    "device-facts": "devices/parts/facts.html",
    "device-work": "devices/parts/work.html",
}


def _device(device_id: str) -> Device:
    return get_object_or_404(Device.objects.select_related("token"), pk=device_id)


def _config_form(device: Device) -> ConfigForm:
    wanted = msgspec.convert(device.config, Config, strict=False)
    return ConfigForm(initial={name: getattr(wanted, name) for name in Config.__struct_fields__})


@require_GET
@requires(Role.VIEWER)
def detail(request: HttpRequest, device_id: str) -> HttpResponse:
    now = timezone.now()
    labels = None
    if not request.htmx or request.htmx.target == "device-facts":
        device, labels = select.labeled(device_id, now)
        if device is None:
            raise Http404(f"There is no device {device_id}.")
    else:
        device = _device(device_id)
    word = liveness(device.online, device.last_seen, device.sample_at, now)
    lazy = Lazy(
        names=lambda: select.names_of(device),
        settings=lambda: select.settings_of(device, lazy.names),
        differing=lambda: sum(setting.differs for setting in lazy.settings),
        tags=lambda: labels.tags if labels else list(map(str, device.tags.all())),
        groups=lambda: labels.groups if labels else [],
        budget=lambda: select.budget(device.pk, now),
        limits=lambda: select.limits(device, lazy.budget),
        deployments=lambda: select.deployments(device, now),
        update=lambda: next((line for line in lazy.deployments if line.open), None),
        phases=lambda: select.phases(lazy.update.deployment) if lazy.update else [],
        commands=lambda: select.commands(device),
        jobs=lambda: select.jobs(device),
        events=lambda: recent(10, device=device),
        runtime=lambda: select.runtime(device),
        running=lambda: lazy.names.get(device.active_manifest),
        alerts=lambda: of_device(device, now),
    )
    context = {
        "device": device,
        "liveness": word,
        "lazy": lazy,
        "success": share(device.successes, device.episodes),
        "cache": share(device.cache_hits, device.cache_lookups),
        "memory_share": share(device.memory_used, device.memory_total),
        "restraints": select.restraints_of(device),
        "promise": settings.DECISION_PROMISE_MS,
        "range": RANGES[listing.choice(request.GET, "range", tuple(RANGES), DEFAULT_RANGE)],
        "ranges": RANGES.values(),
        "marks": MARKS,
        "budget_ms": select.decision_budget(device),
        "open_commands": COMMAND_OPEN,
        "rename_form": RenameForm(initial={"name": device.name}),
        "config_form": _config_form(device),
        "tags_form": TagsForm(initial={"tags": SimpleLazyObject(lambda: ", ".join(lazy.tags))}),
        "maintenance_form": MaintenanceForm(initial={"time_zone": device.time_zone, "pinned": device.pinned}),
    }
    return page(request, "devices/device.html", context, _PARTS)


@require_GET
@requires(Role.VIEWER)
def samples(request: HttpRequest, device_id: str) -> HttpResponse:
    """The points of the charts, column by column (fleet.dashboard.selectors.series).

    `?range=1h` and, where somebody zoomed, `&from=&to=`; `&since=` for what is newer than that; all in Unix ms.
    `&marks=1` for what happened in that time, too.
    """
    get_object_or_404(Device.objects.only("pk"), pk=device_id)
    now = timezone.now()
    view = asked(request.GET, now)
    since = request.GET.get("since", "")
    since_ms = int(since) if since.isascii() and since.isdigit() and len(since) <= 14 else 0
    found = series(device_id, view, now, since_ms)
    if request.GET.get("marks"):
        found["marks"] = marks(device_id, view)
    answer = JsonResponse(found)
    answer.headers["Cache-Control"] = "no-store"
    return answer


@require_POST
@requires(Role.OPERATOR)
def rename(request: HttpRequest, device_id: str) -> HttpResponse:
    device = _device(device_id)
    form = RenameForm(request.POST)
    if not saved(form, lambda: services.rename(device, form.cleaned_data["name"], request.user), "name"):
        context = {"device": device, "rename_form": form}
        return form_again(
            request, "devices/forms/rename.html", context, gettext("Rename {device}").format(device=device.name)
        )
    return go(request, "devices.detail", device.pk)


@require_POST
@requires(Role.OPERATOR)
def tag(request: HttpRequest, device_id: str) -> HttpResponse:
    """`tags` are all that it has from now on."""
    device = _device(device_id)
    form = TagsForm(request.POST)

    def put() -> None:
        tagging.replace(device, tagging.words_of(form.cleaned_data["tags"]), request.user)

    if not saved(form, put, "tags"):
        context = {"device": device, "tags_form": form}
        return form_again(
            request, "devices/forms/tags.html", context, gettext("Tags of {device}").format(device=device.name)
        )
    return go(request, "devices.detail", device.pk)


@require_POST
@requires(Role.OPERATOR)
def set_config(request: HttpRequest, device_id: str) -> HttpResponse:
    device = _device(device_id)
    form = ConfigForm(request.POST)

    def send() -> None:
        given = dict(form.cleaned_data)
        confirmed = given.pop("observations_leave")
        services.set_config(device, given, request.user, confirmed=confirmed)

    if not saved(form, send):
        context = {"device": device, "config_form": form}
        return form_again(
            request, "devices/forms/config.html", context, gettext("Settings of {device}").format(device=device.name)
        )
    return go(request, "devices.detail", device.pk)


@require_POST
@requires(Role.OPERATOR)
def maintain(request: HttpRequest, device_id: str) -> HttpResponse:
    """Its time zone, and whether it stays at what it runs."""
    device = _device(device_id)
    form = MaintenanceForm(request.POST)

    def change() -> None:
        wanted = form.cleaned_data
        services.set_time_zone([device], wanted["time_zone"], request.user)
        if wanted["pinned"] and wanted["pinned"] != device.pinned:
            services.pin(device, wanted["pinned"], request.user)
        elif device.pinned and not wanted["pinned"]:
            services.unpin(device, request.user)

    if not saved(form, change, "time_zone"):
        context = {"device": device, "maintenance_form": form}
        return form_again(
            request,
            "devices/forms/maintenance.html",
            context,
            gettext("Maintenance of {device}").format(device=device.name),
        )
    return go(request, "devices.detail", device.pk)


@require_POST
@requires(Role.OPERATOR)
def admit(request: HttpRequest, device_id: str) -> HttpResponse:
    """`do` is accept or reject."""
    device = _device(device_id)

    def accept() -> str:
        services.accept([device], request.user)
        return gettext("{device} is in.").format(device=device.name)

    def reject() -> str:
        services.reject([device], request.user)
        return gettext("{device} was rejected.").format(device=device.name)

    act(request, reject if request.POST.get("do") == "reject" else accept)
    return back(request, "devices.detail", device.pk)


@require_POST
@requires(Role.ADMIN)
def retire(request: HttpRequest, device_id: str) -> HttpResponse:
    device = _device(device_id)

    def end() -> str:
        if request.POST.get("confirm") != device.name:
            raise Refused(gettext("{device} was not retired: type its name to confirm.").format(device=device.name))
        services.retire(device, request.user)
        return gettext("{device} was retired; its login no longer works.").format(device=device.name)

    act(request, end)
    return go(request, "devices.detail", device.pk)


@require_POST
@requires(Role.OPERATOR)
def ping(request: HttpRequest, device_id: str) -> HttpResponse:
    device = _device(device_id)

    def order() -> str:
        send_command(device, "ping", {}, request.user)
        return gettext("{device} was asked to answer; see Commands.").format(device=device.name)

    act(request, order)
    return go(request, "devices.detail", device.pk)


@require_POST
@requires(Role.OPERATOR)
def reoptimize(request: HttpRequest, device_id: str) -> HttpResponse:
    device = _device(device_id)
    started: list[str] = []

    def start() -> str:
        job = start_reoptimization(device, request.user, lighter=bool(request.POST.get("lighter")))
        started.append(reverse("jobs.detail", args=(job.pk,)))
        return gettext("Re-optimizing {device} is job {job}.").format(device=device.name, job=job.pk)

    act(request, start)
    return go(request, *(started or ("devices.detail", device.pk)))


@require_POST
@requires(Role.OPERATOR)
def stop_command(request: HttpRequest, device_id: str, command_id: str) -> HttpResponse:
    command = get_object_or_404(Command.objects.select_related("device"), pk=command_id, device_id=device_id)

    def stop() -> str:
        cancel_command(command, request.user)
        return gettext("The {kind} is no longer waited for.").format(kind=command.kind)

    act(request, stop)
    return go(request, "devices.detail", device_id)
