"""People: who has access, and with which role. Admins only."""

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST

from fleet.accounts import services
from fleet.accounts.roles import Role, requires
from fleet.dashboard.forms.accounts import PersonForm, RoleForm
from fleet.dashboard.pages import act, go, page, saved
from fleet.dashboard.selectors.people import people
from fleet.sentences import said


def _context(**more: object) -> dict[str, object]:
    return {"people": people(), "roles": [role.label for role in Role], "form": PersonForm(), **more}


@require_GET
@requires(Role.ADMIN)
def everybody(request: HttpRequest) -> HttpResponse:
    return page(request, "people/people.html", _context())


@require_POST
@requires(Role.ADMIN)
def create(request: HttpRequest) -> HttpResponse:
    """The one-time password is in this answer and nowhere else."""
    form = PersonForm(request.POST)
    made: list[object] = []

    def add() -> None:
        made.extend(services.create_person(form.cleaned_data["username"], form.cleaned_data["role"], request.user))

    if not saved(form, add, "username"):
        return page(request, "people/people.html", _context(form=form), status=422)
    person, password = made
    response = page(request, "people/people.html", _context(new_person=person, new_password=password))
    response.headers["Cache-Control"] = "no-store"
    return response


@require_POST
@requires(Role.ADMIN)
def set_role(request: HttpRequest, user_id: int) -> HttpResponse:
    person = get_object_or_404(User, pk=user_id, is_active=True)
    form = RoleForm(request.POST)

    def change() -> str:
        role = form.cleaned_data["role"]
        services.set_role(person, role, request.user)
        return gettext("{person} is {role} now.").format(person=person.username, role=said(role.label))

    if form.is_valid():
        act(request, change)
    return go(request, "people")


@require_POST
@requires(Role.ADMIN)
def deactivate(request: HttpRequest, user_id: int) -> HttpResponse:
    person = get_object_or_404(User, pk=user_id, is_active=True)

    def end() -> str:
        services.deactivate(person, request.user)
        return gettext("{person} can no longer sign in, and every token of theirs is gone.").format(
            person=person.username
        )

    act(request, end)
    return go(request, "people")
