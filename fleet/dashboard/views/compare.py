"""Two versions, two classes or two devices side by side. The address holds what is compared, and of when."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_GET

from fleet.accounts.roles import Role, requires
from fleet.dashboard import comparing
from fleet.dashboard.pages import Lazy, page
from fleet.dashboard.selectors import compare as select
from fleet.dashboard.selectors.trials import CLASSES
from fleet.dashboard.series import RANGES

_PARTS = {"compare": "compare/body.html", "compare-figures": "compare/figures.html"}


@require_GET
@requires(Role.VIEWER)
def compare(request: HttpRequest) -> HttpResponse:
    asked = select.asked(request.GET, timezone.now())
    whole = select.completed(asked)
    if whole and not request.htmx:
        return redirect(request.path + whole)
    promise = settings.DECISION_PROMISE_MS
    lazy = Lazy(
        found=lambda: select.compared(asked),
        sides=lambda: (lazy.found.a, lazy.found.b),
        lines=lambda: comparing.lines(*lazy.sides),
        verdict=lambda: comparing.verdict(*lazy.sides),
        cautions=lambda: comparing.cautions(*lazy.sides),
        latency=lambda: comparing.latency_chart(*lazy.sides, promise),
        energy=lambda: comparing.energy_chart(*lazy.sides),
        success=lambda: comparing.success_chart(*lazy.sides),
        versions=select.choices,
        devices=lambda: select.device_names(asked.a, asked.b),
    )
    context = {
        "asked": asked,
        "lazy": lazy,
        "kinds": [(kind, label, f"?kind={kind}") for kind, label in select.KINDS.items()],
        "ranges": [(one, asked.url(range=one.key)) for one in RANGES.values()],
        "classes": CLASSES,
    }
    return page(request, "compare/compare.html", context, _PARTS)
