"""Groups: rollouts go to them."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from fleet.accounts.roles import Role, requires
from fleet.dashboard.figures import plural
from fleet.dashboard.forms.devices import GroupForm
from fleet.dashboard.pages import Lazy, act, back, form_again, go, page, saved
from fleet.dashboard.selectors import groups as select
from fleet.devices import services
from fleet.devices.models import Device, Group


@require_GET
@requires(Role.VIEWER)
def everything(request: HttpRequest) -> HttpResponse:
    context = {"lazy": Lazy(groups=lambda: select.groups(timezone.now())), "form": GroupForm()}
    return page(request, "groups/groups.html", context, {"group-list": "groups/list.html"})


@require_POST
@requires(Role.OPERATOR)
def create(request: HttpRequest) -> HttpResponse:
    form = GroupForm(request.POST)
    made: list[Group] = []

    def new() -> None:
        made.append(services.create_group(form.cleaned_data["name"], form.cleaned_data["description"], request.user))

    if not saved(form, new, "name"):
        return form_again(request, "groups/create_form.html", {"form": form}, "New group")
    return go(request, "groups.detail", made[0].name)


@require_GET
@requires(Role.VIEWER)
def detail(request: HttpRequest, name: str) -> HttpResponse:
    group = get_object_or_404(Group, name=name)
    now = timezone.now()
    context = {
        "group": group,
        "listing": select.members(group, request.GET, now),
        "lazy": Lazy(
            size=lambda: group.devices.filter(retired_at=None).count(), rollouts=lambda: select.rollouts(group)
        ),
        "form": GroupForm(initial={"name": group.name, "description": group.description}),
    }
    return page(request, "groups/group.html", context, {"group-members": "groups/members.html"})


@require_POST
@requires(Role.OPERATOR)
def update(request: HttpRequest, name: str) -> HttpResponse:
    group = get_object_or_404(Group, name=name)
    form = GroupForm(request.POST)

    def change() -> None:
        services.update_group(group, form.cleaned_data["name"], form.cleaned_data["description"], request.user)

    if not saved(form, change, "name"):
        return form_again(request, "groups/edit_form.html", {"form": form, "group": group}, f"Edit {name}")
    return go(request, "groups.detail", group.name)


@require_POST
@requires(Role.OPERATOR)
def change_members(request: HttpRequest, name: str) -> HttpResponse:
    """`do` is add or remove; `device` are the ids of those that were ticked."""
    group = get_object_or_404(Group, name=name)
    devices = list(Device.objects.filter(pk__in=request.POST.getlist("device")[:5000]))

    def add() -> str:
        return f"{plural(services.add_to_group(group, devices, request.user), 'device')} joined {group.name}."

    def remove() -> str:
        return f"{plural(services.remove_from_group(group, devices, request.user), 'device')} left {group.name}."

    if devices:
        act(request, remove if request.POST.get("do") == "remove" else add)
    else:
        messages.error(request, "No device was chosen.")
    return back(request, "groups.detail", group.name)


@require_POST
@requires(Role.OPERATOR)
def delete(request: HttpRequest, name: str) -> HttpResponse:
    group = get_object_or_404(Group, name=name)

    def end() -> str:
        services.delete_group(group, request.user)
        return f"The group {name} is gone; its devices stay."

    act(request, end)
    return go(request, "groups")
