"""One device, and the orders one can give it."""

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from agent.wire.messages import Config
from agent.wire.states import COMMAND_NEXT
from fleet.accounts.roles import Role, requires
from fleet.dashboard import listing
from fleet.dashboard.figures import share
from fleet.dashboard.forms.devices import ConfigForm, RenameForm
from fleet.dashboard.pages import Lazy, act, back, form_again, go, page, saved
from fleet.dashboard.selectors import device as select
from fleet.dashboard.selectors.events import recent
from fleet.dashboard.selectors.naming import running
from fleet.dashboard.selectors.series import series
from fleet.dashboard.series import DEFAULT_RANGE, RANGES
from fleet.devices import services
from fleet.devices.liveness import explain, liveness
from fleet.devices.models import Device
from fleet.errors import Refused
from fleet.jobs.services import start_reoptimization
from fleet.rollouts.models import Command
from fleet.rollouts.services import cancel_command, send_command

COMMAND_OPEN = frozenset(COMMAND_NEXT)
_PARTS = {
    "device-head": "devices/parts/head.html",
    "device-actions": "devices/actions.html",
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
    device = _device(device_id)
    now = timezone.now()
    word = liveness(device.online, device.last_seen, device.sample_at, now)
    lazy = Lazy(
        names=lambda: running([device.active_manifest, device.desired_manifest]),
        settings=lambda: select.settings_of(device, lazy.names),
        differing=lambda: sum(setting.differs for setting in lazy.settings),
        groups=lambda: list(device.groups.all()),
        budget=lambda: select.budget(device.pk, now),
        deployments=lambda: select.deployments(device, now),
        update=lambda: next((line for line in lazy.deployments if line.open), None),
        phases=lambda: select.phases(lazy.update.deployment) if lazy.update else [],
        commands=lambda: select.commands(device),
        jobs=lambda: select.jobs(device),
        events=lambda: recent(10, device=device),
        running=lambda: lazy.names.get(device.active_manifest),
    )
    context = {
        "device": device,
        "liveness": word,
        "sentence": explain(word, device.last_seen, now),
        "lazy": lazy,
        "success": share(device.successes, device.episodes),
        "cache": share(device.cache_hits, device.cache_lookups),
        "memory_share": share(device.memory_used, device.memory_total),
        "promise": settings.DECISION_PROMISE_MS,
        "range": RANGES[listing.choice(request.GET, "range", tuple(RANGES), DEFAULT_RANGE)],
        "ranges": RANGES.values(),
        "open_commands": COMMAND_OPEN,
        "rename_form": RenameForm(initial={"name": device.name}),
        "config_form": _config_form(device),
    }
    return page(request, "devices/device.html", context, _PARTS)


@require_GET
@requires(Role.VIEWER)
def samples(request: HttpRequest, device_id: str) -> HttpResponse:
    """`?range=1h&since=<Unix ms>`: the points of the charts, column by column (fleet.dashboard.selectors.series)."""
    get_object_or_404(Device.objects.only("pk"), pk=device_id)
    chosen = RANGES[listing.choice(request.GET, "range", tuple(RANGES), DEFAULT_RANGE)]
    since = request.GET.get("since", "")
    since_ms = int(since) if since.isascii() and since.isdigit() and len(since) <= 14 else 0
    answer = JsonResponse(series(device_id, chosen, timezone.now(), since_ms))
    answer.headers["Cache-Control"] = "no-store"
    return answer


@require_POST
@requires(Role.OPERATOR)
def rename(request: HttpRequest, device_id: str) -> HttpResponse:
    device = _device(device_id)
    form = RenameForm(request.POST)
    if not saved(form, lambda: services.rename(device, form.cleaned_data["name"], request.user), "name"):
        context = {"device": device, "rename_form": form}
        return form_again(request, "devices/forms/rename.html", context, f"Rename {device.name}")
    return go(request, "devices.detail", device.pk)


@require_POST
@requires(Role.OPERATOR)
def set_config(request: HttpRequest, device_id: str) -> HttpResponse:
    device = _device(device_id)
    form = ConfigForm(request.POST)
    if not saved(form, lambda: services.set_config(device, form.cleaned_data, request.user)):
        context = {"device": device, "config_form": form}
        return form_again(request, "devices/forms/config.html", context, f"Settings of {device.name}")
    return go(request, "devices.detail", device.pk)


@require_POST
@requires(Role.OPERATOR)
def admit(request: HttpRequest, device_id: str) -> HttpResponse:
    """`do` is accept or reject."""
    device = _device(device_id)

    def accept() -> str:
        services.accept([device], request.user)
        return f"{device.name} is in."

    def reject() -> str:
        services.reject([device], request.user)
        return f"{device.name} was rejected."

    act(request, reject if request.POST.get("do") == "reject" else accept)
    return back(request, "devices.detail", device.pk)


@require_POST
@requires(Role.ADMIN)
def retire(request: HttpRequest, device_id: str) -> HttpResponse:
    device = _device(device_id)

    def end() -> str:
        if request.POST.get("confirm") != device.name:
            raise Refused(f"{device.name} was not retired: type its name to confirm.")
        services.retire(device, request.user)
        return f"{device.name} was retired; its login no longer works."

    act(request, end)
    return go(request, "devices.detail", device.pk)


@require_POST
@requires(Role.OPERATOR)
def ping(request: HttpRequest, device_id: str) -> HttpResponse:
    device = _device(device_id)

    def order() -> str:
        send_command(device, "ping", {}, request.user)
        return f"{device.name} was asked to answer; see Commands."

    act(request, order)
    return go(request, "devices.detail", device.pk)


@require_POST
@requires(Role.OPERATOR)
def reoptimize(request: HttpRequest, device_id: str) -> HttpResponse:
    device = _device(device_id)
    started: list[str] = []

    def start() -> str:
        job = start_reoptimization(device, request.user)
        started.append(reverse("jobs.detail", args=(job.pk,)))
        return f"Re-optimizing {device.name} is job {job.pk}."

    act(request, start)
    return go(request, *(started or ("devices.detail", device.pk)))


@require_POST
@requires(Role.OPERATOR)
def stop_command(request: HttpRequest, device_id: str, command_id: str) -> HttpResponse:
    command = get_object_or_404(Command.objects.select_related("device"), pk=command_id, device_id=device_id)

    def stop() -> str:
        cancel_command(command, request.user)
        return f"The {command.kind} is no longer waited for."

    act(request, stop)
    return go(request, "devices.detail", device_id)
