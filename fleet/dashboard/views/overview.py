"""The fleet in one look; on a new installation, the first steps."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from fleet.accounts.roles import Role, requires
from fleet.dashboard import listing
from fleet.dashboard.pages import Lazy, page
from fleet.dashboard.selectors import lately
from fleet.dashboard.selectors import overview as select
from fleet.dashboard.selectors.alerts import line as alert_line
from fleet.dashboard.selectors.alerts import open_alerts
from fleet.dashboard.selectors.events import recent
from fleet.dashboard.selectors.naming import observed
from fleet.dashboard.selectors.rollouts import open_rollouts
from fleet.dashboard.selectors.worst import worst

_PARTS = {
    "fleet-head": "overview/parts/head.html",
    "fleet-tiles": "overview/parts/tiles.html",
    "fleet-figures": "overview/parts/figures.html",
    "fleet-work": "overview/parts/work.html",
    "first-steps": "overview/parts/first.html",
}


@require_GET
@requires(Role.VIEWER)
def fleet(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    promise = settings.DECISION_PROMISE_MS
    span = listing.choice(request.GET, "range", tuple(lately.SPANS), lately.DEFAULT_SPAN)
    lazy = Lazy(
        fleet=lambda: select.fleet(now, promise),
        parts=lambda: lately.parts(span, now),
        names=lambda: observed(select.manifests(lazy.fleet.running, lazy.parts)),
        lately=lambda: lately.lately(span, lazy.parts, lazy.names, promise),
        spread=lambda: select.spread(lazy.fleet.running, lazy.names),
        worst=lambda: worst(now, promise),
        rollouts=lambda: open_rollouts(now),
        alerts=lambda: [alert_line(alert, now) for alert in open_alerts(5)],
        events=lambda: recent(8),
        steps=select.first_steps,
    )
    context = {
        "lazy": lazy,
        "promise": promise,
        "span": span,
        "spans": [(key, label) for key, (label, _) in lately.SPANS.items()],
    }
    return page(request, "overview/overview.html", context, _PARTS)
