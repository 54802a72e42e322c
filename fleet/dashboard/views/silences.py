"""Silences: what nobody is told of for a while."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_POST

from fleet.accounts.roles import Role, requires
from fleet.alerts import services
from fleet.alerts.models import Silence
from fleet.dashboard import listing
from fleet.dashboard.forms.alerts import SilenceForm
from fleet.dashboard.pages import Lazy, act, go, page, saved
from fleet.dashboard.selectors import alerts as select
from fleet.search.errors import SearchError
from fleet.search.language import LONGEST
from fleet.sentences import said


def _page(request: HttpRequest, form: SilenceForm, status: int = 200) -> HttpResponse:
    context = {"lazy": Lazy(silences=lambda: select.silences(timezone.now())), "form": form}
    return page(request, "alerts/silences.html", context, {"silence-list": "alerts/silence_list.html"}, status)


@require_http_methods(["GET"])
@requires(Role.VIEWER)
def everything(request: HttpRequest) -> HttpResponse:
    """`?rule=` and `?query=` fill in the form."""
    given = {
        "rule": listing.number(request.GET, "rule", 0) or None,
        "query": listing.text(request.GET, "query", LONGEST),
    }
    return _page(request, SilenceForm(initial={name: value for name, value in given.items() if value}))


@require_POST
@requires(Role.OPERATOR)
def create(request: HttpRequest) -> HttpResponse:
    form = SilenceForm(request.POST)

    def make() -> None:
        given = form.cleaned_data
        try:
            services.create_silence(
                given["rule"], given["query"], timezone.now() + form.lasts, given["reason"], request.user
            )
        except SearchError as problem:
            form.add_error("query", str(problem))

    if not (saved(form, make) and form.is_valid()):
        return _page(request, form, 422)
    return go(request, "alerts.silences")


@require_POST
@requires(Role.OPERATOR)
def end(request: HttpRequest, silence_id: int) -> HttpResponse:
    silence = get_object_or_404(Silence.objects.select_related("rule"), pk=silence_id)

    def over() -> str:
        services.end_silence(silence, request.user)
        return gettext("Alerts of {silence} are told again.").format(silence=said(str(silence)))

    act(request, over)
    return go(request, "alerts.silences")
