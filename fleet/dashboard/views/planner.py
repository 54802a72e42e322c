"""The planner: which mode fits a device and a model. Its address holds all that was asked."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_GET

from fleet.accounts.roles import Role, requires
from fleet.dashboard.pages import Lazy, page
from fleet.dashboard.planning import Sheet, examples, retyped, subject
from fleet.dashboard.selectors import planning as select
from fleet.dashboard.selectors.trials import CLASSES


@require_GET
@requires(Role.VIEWER)
def planner(request: HttpRequest) -> HttpResponse:
    typed = retyped(request.GET)
    if typed is not None:
        return redirect(request.path + typed)
    chosen = select.choose(request.GET)
    sheet = Sheet(request.GET, select.known(chosen, timezone.now()), chosen.device_class)
    asked = subject(request.GET)
    context = {
        "sheet": sheet,
        "chosen": chosen,
        "asked": asked,
        "examples": examples(request.GET),
        "classes": CLASSES,
        "lazy": Lazy(
            versions=lambda: select.versions(chosen.version),
            devices=lambda: select.devices(asked["device"]),
        ),
    }
    return page(request, "planner/planner.html", context, {"planner": "planner/body.html"})
