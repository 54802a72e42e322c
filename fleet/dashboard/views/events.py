"""The event log."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from fleet.accounts.roles import Role, requires
from fleet.dashboard.pages import page
from fleet.dashboard.selectors.events import KINDS, LEVELS, event_list


@require_GET
@requires(Role.VIEWER)
def log(request: HttpRequest) -> HttpResponse:
    context = {"listing": event_list(request.GET), "kinds": KINDS, "levels": LEVELS}
    return page(request, "events/log.html", context, {"event-list": "events/list.html"})
