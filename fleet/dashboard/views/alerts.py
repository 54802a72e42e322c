"""Alerts: looked at, acknowledged; and the bell that every page has."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST

from fleet.accounts.roles import Role, requires
from fleet.alerts import services
from fleet.alerts.models import Rule
from fleet.alerts.policy import Severity
from fleet.dashboard import listing
from fleet.dashboard.figures import plural
from fleet.dashboard.pages import Lazy, act, back, page
from fleet.dashboard.selectors import alerts as select
from fleet.dashboard.views.devices import still_typing

#: What one order may touch.
MOST = 5000


@require_GET
@requires(Role.VIEWER)
def everything(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    found = select.alert_list(request.GET, now)
    if still_typing(request, found.search):
        return HttpResponse(status=204)
    context = {
        "listing": found,
        "severities": [severity.value for severity in Severity],
        "lazy": Lazy(stale=lambda: select.stale(now), failing=select.failing, rules=Rule.objects.exists),
    }
    return page(request, "alerts/alerts.html", context, {"alert-list": "alerts/list.html"})


@require_GET
@requires(Role.VIEWER)
def bell(request: HttpRequest) -> HttpResponse:
    """How many wait for somebody, and what has just opened: a part of every page."""
    context = {"waiting": select.counts().waiting, "news": select.news(timezone.now())}
    return page(request, "alerts/bell.html", context)


@require_POST
@requires(Role.OPERATOR)
def acknowledge(request: HttpRequest) -> HttpResponse:
    """`one` is an alert's number, `rule` a rule's (all that is open of it), else `alert` those that were ticked."""
    note = request.POST.get("note", "")
    ticked = [request.POST["one"]] if "one" in request.POST else request.POST.getlist("alert")[:MOST]
    numbers = [int(each) for each in ticked if each.isascii() and each.isdigit() and len(each) <= 18]

    def done() -> str:
        if request.POST.get("rule"):
            rule = get_object_or_404(Rule, pk=listing.number(request.POST, "rule", 0))
            changed = services.acknowledge_rule(rule, note, request.user)
        else:
            changed = services.acknowledge(numbers, note, request.user)
        return gettext("{alerts} acknowledged.").format(alerts=plural(changed, "alert"))

    if numbers or request.POST.get("rule"):
        act(request, done)
    else:
        messages.error(request, gettext("No alert was chosen."))
    return back(request, "alerts")
