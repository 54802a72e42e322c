"""The fleet in one look; on a new installation, the first steps."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from fleet.accounts.roles import Role, requires
from fleet.dashboard.pages import Lazy, page
from fleet.dashboard.selectors import overview as select
from fleet.dashboard.selectors.events import recent
from fleet.dashboard.selectors.jobs import open_jobs
from fleet.dashboard.selectors.rollouts import open_rollouts

_PARTS = {
    "fleet-head": "overview/parts/head.html",
    "fleet-figures": "overview/parts/figures.html",
    "fleet-work": "overview/parts/work.html",
    "first-steps": "overview/parts/first.html",
}


@require_GET
@requires(Role.VIEWER)
def fleet(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    promise = settings.DECISION_PROMISE_MS
    lazy = Lazy(
        fleet=lambda: select.fleet(now, promise),
        histogram=lambda: select.histogram(now, promise),
        spread=lambda: select.version_spread(lazy.fleet.total.total),
        rollouts=lambda: open_rollouts(now),
        jobs=open_jobs,
        events=lambda: recent(8),
        steps=select.first_steps,
    )
    return page(request, "overview/overview.html", {"lazy": lazy, "promise": promise}, _PARTS)
