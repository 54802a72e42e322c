"""The list of devices, and what can be done with many of them at once."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST

from fleet.accounts.roles import Role, requires
from fleet.dashboard.figures import plural
from fleet.dashboard.pages import Lazy, act, back, page
from fleet.dashboard.selectors import devices as select
from fleet.dashboard.words import listed
from fleet.devices import services, tagging
from fleet.devices.models import Device, Group
from fleet.search.fields import FIELDS, STATES

#: What one order may touch; a rollout is the way to reach more.
MOST = 5000


@require_GET
@requires(Role.VIEWER)
def everything(request: HttpRequest) -> HttpResponse:
    listing = select.device_list(request.GET, timezone.now())
    if still_typing(request, listing.search):
        return HttpResponse(status=204)
    context = {
        "listing": listing,
        "lazy": Lazy(groups=select.groups_to_join, views=lambda: select.kept_views(request.user, listing)),
        "fields": FIELDS.values(),
        "words": STATES,
    }
    return page(request, "devices/devices.html", context, {"device-list": "devices/list.html"})


def still_typing(request: HttpRequest, search: select.Search) -> bool:
    """Whether a script asks about a search of which the end is missing: what stands on the page may stay until then."""
    return bool(request.htmx and search.problem and search.problem.unfinished)


def _chosen(request: HttpRequest) -> list[Device]:
    """The ticked devices, or all that the list's filters match when that box is ticked."""
    rows = Device.objects.filter(pk__in=request.POST.getlist("device")[:MOST])
    if request.POST.get("everything"):
        now = timezone.now()
        rows = select.search_of(QueryDict(request.POST.get("query", "").removeprefix("?")), now).found(now)
    return list(rows[:MOST])


def _tagged(devices: list[Device], does: str, given: str, by) -> str:
    words = tagging.words_of(given)
    if does == "tag":
        return gettext("{devices} tagged {tags}.").format(
            devices=plural(tagging.change(devices, by, add=words), "device"), tags=listed(words)
        )
    return gettext("{devices} no longer tagged {tags}.").format(
        devices=plural(tagging.change(devices, by, remove=words), "device"), tags=listed(words)
    )


@require_POST
@requires(Role.OPERATOR)
def bulk(request: HttpRequest) -> HttpResponse:
    does, devices = request.POST.get("do", ""), _chosen(request)
    if request.POST.get("one"):  # the button of a single row: what to do, and with which
        does, _, one = request.POST["one"].partition(" ")
        devices = list(Device.objects.filter(pk=one[:64]))
    if not devices:
        messages.error(request, gettext("No device was chosen."))
    elif does == "accept":
        act(
            request,
            lambda: gettext("{devices} accepted.").format(
                devices=plural(services.accept(devices, request.user), "device")
            ),
        )
    elif does == "reject":
        act(
            request,
            lambda: gettext("{devices} rejected.").format(
                devices=plural(services.reject(devices, request.user), "device")
            ),
        )
    elif does in ("tag", "untag"):
        act(request, lambda: _tagged(devices, does, request.POST.get("tags", ""), request.user))
    elif does == "group":
        if not request.POST.get("group"):
            messages.error(request, gettext("Choose the group that the devices should join."))
        else:
            group = get_object_or_404(Group, name=request.POST["group"])
            act(
                request,
                lambda: gettext("{devices} joined {group}.").format(
                    devices=plural(services.add_to_group(group, devices, request.user), "device"), group=group.name
                ),
            )
    else:
        messages.error(
            request,
            gettext("Devices cannot be told to {order} together.").format(order=does[:40] or gettext("do nothing")),
        )
    return back(request, "devices")
