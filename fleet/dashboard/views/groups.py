"""Groups: rollouts go to them."""

from collections.abc import Callable

from django.contrib import messages
from django.forms import model_to_dict
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from fleet.accounts.roles import Role, requires
from fleet.dashboard import listing
from fleet.dashboard.figures import plural
from fleet.dashboard.forms.devices import GroupForm
from fleet.dashboard.pages import Lazy, act, back, form_again, go, page, saved
from fleet.dashboard.selectors import groups as select
from fleet.dashboard.views.devices import still_typing
from fleet.devices import services
from fleet.devices.models import Device, Group
from fleet.search.errors import SearchError
from fleet.search.groups import change, problem_of
from fleet.search.language import LONGEST

_FORM = "groups/form.html"


@require_GET
@requires(Role.VIEWER)
def everything(request: HttpRequest) -> HttpResponse:
    context = {"lazy": Lazy(groups=lambda: select.groups(timezone.now())), "form": GroupForm()}
    return page(request, "groups/groups.html", context, {"group-list": "groups/list.html"})


@require_http_methods(["GET", "POST"])
@requires(Role.OPERATOR)
def create(request: HttpRequest) -> HttpResponse:
    """GET shows the form, with `?query=` filled in and previewed: a search becomes a group."""
    query = listing.text(request.GET, "query", LONGEST)
    if request.method == "GET":
        context = {"form": GroupForm(initial={"query": query}), **_previewed(None, query)}
        return page(request, "parts/form_page.html", {**context, "form_template": _FORM, "title": gettext("New group")})
    form = GroupForm(request.POST)
    made: list[Group] = []

    def new() -> None:
        made.append(services.create_group(by=request.user, **form.cleaned_data))

    if request.POST.get("do") == "preview" or not _saved(form, new):
        return form_again(
            request, _FORM, {"form": form, **_previewed(None, form["query"].value())}, gettext("New group")
        )
    return go(request, "groups.detail", made[0].name)


def _saved(form: GroupForm, action: Callable[[], None]) -> bool:
    """A refusal stands beside the field that it is about."""

    def tried() -> None:
        try:
            action()
        except SearchError as problem:
            form.add_error("query", str(problem))

    return saved(form, tried, "name") and form.is_valid()


def _previewed(group: Group | None, query: str | None) -> dict[str, object]:
    """Who would be in the group, for its form; why not, when the query cannot be read."""
    if not (query or "").strip():
        return {}
    try:
        return {"change": change(group, query), "group": group}
    except SearchError as problem:
        return {"query_problem": str(problem), "group": group}


@require_GET
@requires(Role.OPERATOR)
def preview(request: HttpRequest) -> HttpResponse:
    """`?query=…`, and `&group=` for a group that there is: who is in it with that query, who would join and leave."""
    name = listing.text(request.GET, "group")
    group = get_object_or_404(Group, name=name) if name else None
    return page(request, "groups/preview.html", _previewed(group, listing.text(request.GET, "query", LONGEST)))


@require_GET
@requires(Role.VIEWER)
def detail(request: HttpRequest, name: str) -> HttpResponse:
    group = get_object_or_404(Group, name=name)
    members = select.members(group, request.GET, timezone.now())
    if still_typing(request, members.search):
        return HttpResponse(status=204)
    context = {
        "group": group,
        "listing": members,
        "lazy": Lazy(
            size=lambda: group.members().filter(retired_at=None).count(), rollouts=lambda: select.rollouts(group)
        ),
        "problem": problem_of(group),
        "form": GroupForm(initial=model_to_dict(group, ("name", "description", "query")), group=group),
    }
    return page(request, "groups/group.html", context, {"group-members": "groups/members.html"})


@require_POST
@requires(Role.OPERATOR)
def update(request: HttpRequest, name: str) -> HttpResponse:
    group = get_object_or_404(Group, name=name)
    form = GroupForm(request.POST, group=group)

    def save() -> None:
        services.update_group(group, by=request.user, **form.cleaned_data)

    if request.POST.get("do") == "preview" or not _saved(form, save):
        query = form["query"].value() if group.dynamic else ""
        context = {**_previewed(group, query), "form": form, "group": group}
        return form_again(request, _FORM, context, gettext("Edit {name}").format(name=name))
    return go(request, "groups.detail", group.name)


@require_POST
@requires(Role.OPERATOR)
def change_members(request: HttpRequest, name: str) -> HttpResponse:
    """`do` is add or remove; `device` are the ids of those that were ticked."""
    group = get_object_or_404(Group, name=name)
    devices = list(Device.objects.filter(pk__in=request.POST.getlist("device")[:5000]))

    def add() -> str:
        return gettext("{devices} joined {group}.").format(
            devices=plural(services.add_to_group(group, devices, request.user), "device"), group=group.name
        )

    def remove() -> str:
        return gettext("{devices} left {group}.").format(
            devices=plural(services.remove_from_group(group, devices, request.user), "device"), group=group.name
        )

    if devices:
        act(request, remove if request.POST.get("do") == "remove" else add)
    else:
        messages.error(request, gettext("No device was chosen."))
    return back(request, "groups.detail", group.name)


@require_POST
@requires(Role.OPERATOR)
def delete(request: HttpRequest, name: str) -> HttpResponse:
    group = get_object_or_404(Group, name=name)

    def end() -> str:
        services.delete_group(group, request.user)
        return gettext("The group {name} is gone; its devices stay.").format(name=name)

    act(request, end)
    return go(request, "groups")
