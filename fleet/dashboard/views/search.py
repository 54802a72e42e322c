"""The search field's completion, and the views that people keep."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST

from fleet.accounts.roles import Role, requires, role_of
from fleet.dashboard import listing
from fleet.dashboard.forms.search import ViewForm
from fleet.dashboard.pages import act, back, form_again, go, saved
from fleet.search import services
from fleet.search.completion import place
from fleet.search.existing import offers
from fleet.search.language import LONGEST
from fleet.search.models import SavedView


@require_GET
@requires(Role.VIEWER)
def complete(request: HttpRequest) -> JsonResponse:
    """`?q=tag:si&at=6`: `{"from", "to", "offers": [{"text", "detail", "open"}]}`, from and to being the place in q
    that an offer takes; open says that something follows it."""
    text = request.GET.get("q", "")[:LONGEST].replace("\0", " ")
    here = place(text, listing.number(request.GET, "at", len(text), lowest=0, highest=LONGEST))
    found = [{"text": each.text, "detail": each.detail, "open": each.open} for each in offers(here)]
    answer = JsonResponse({"from": here.start, "to": here.end, "offers": found})
    answer.headers["Cache-Control"] = "no-store"
    return answer


@require_POST
@requires(Role.VIEWER)
def save(request: HttpRequest) -> HttpResponse:
    """Keep a view for oneself; sharing it with others takes an operator."""
    form = ViewForm(request.POST)
    kept: list[SavedView] = []

    def keep() -> None:
        given = form.cleaned_data
        shared = given["shared"] and (role_of(request.user) or Role.VIEWER) >= Role.OPERATOR
        kept.append(services.save_view(given["name"], given["address"], shared, request.user))

    if not saved(form, keep, "name"):
        return form_again(request, "parts/view_form.html", {"view_form": form}, gettext("Save this view"))
    messages.success(request, gettext("{view} is kept: Ctrl K finds it.").format(view=kept[0].name))
    return go(request, kept[0].address)


@require_POST
@requires(Role.VIEWER)
def delete(request: HttpRequest, view_id: int) -> HttpResponse:
    kept = get_object_or_404(SavedView.objects.select_related("owner"), pk=view_id)

    def end() -> str:
        services.delete_view(kept, request.user, role_of(request.user) is Role.ADMIN)
        return gettext("The view {view} is gone.").format(view=kept.name)

    act(request, end)
    return back(request, "account")
