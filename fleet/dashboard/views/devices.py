"""The list of devices, and what can be done with many of them at once."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from fleet.accounts.roles import Role, requires
from fleet.dashboard.figures import plural
from fleet.dashboard.pages import Lazy, act, back, page
from fleet.dashboard.selectors import devices as select
from fleet.devices import services
from fleet.devices.liveness import Liveness
from fleet.devices.liveness import query as live_query
from fleet.devices.models import Device, Group

#: What one order may touch; a rollout is the way to reach more.
MOST = 5000


@require_GET
@requires(Role.VIEWER)
def everything(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    context = {
        "listing": select.device_list(request.GET, now),
        "lazy": Lazy(groups=select.group_names),
        "classes": select.CLASSES,
        "states": select.STATES,
        "admissions": select.ADMISSIONS,
    }
    return page(request, "devices/devices.html", context, {"device-list": "devices/list.html"})


def _chosen(request: HttpRequest) -> list[Device]:
    """The ticked devices, or all that the list's filters match when that box is ticked."""
    rows = Device.objects.filter(pk__in=request.POST.getlist("device")[:MOST])
    if request.POST.get("everything"):
        filters = select.filters_of(QueryDict(request.POST.get("query", "").removeprefix("?")))
        rows = select.matching(filters)
        if filters.state:
            rows = rows.filter(live_query(Liveness(filters.state), timezone.now()))
    return list(rows[:MOST])


@require_POST
@requires(Role.OPERATOR)
def bulk(request: HttpRequest) -> HttpResponse:
    does, devices = request.POST.get("do", ""), _chosen(request)
    if request.POST.get("one"):  # the button of a single row: what to do, and with which
        does, _, one = request.POST["one"].partition(" ")
        devices = list(Device.objects.filter(pk=one[:64]))
    if not devices:
        messages.error(request, "No device was chosen.")
    elif does == "accept":
        act(request, lambda: f"{plural(services.accept(devices, request.user), 'device')} accepted.")
    elif does == "reject":
        act(request, lambda: f"{plural(services.reject(devices, request.user), 'device')} rejected.")
    elif does == "group":
        if not request.POST.get("group"):
            messages.error(request, "Choose the group that the devices should join.")
        else:
            group = get_object_or_404(Group, name=request.POST["group"])
            act(
                request,
                lambda: f"{plural(services.add_to_group(group, devices, request.user), 'device')} joined {group.name}.",
            )
    else:
        messages.error(request, f"Devices cannot be told to {does[:40] or 'do nothing'} together.")
    return back(request, "devices")
