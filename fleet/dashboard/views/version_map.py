"""The map of versions: which variant runs where, over time and now."""

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from fleet.accounts.roles import Role, requires
from fleet.dashboard import listing
from fleet.dashboard.pages import Lazy, page
from fleet.dashboard.selectors import version_map as select

_PARTS = {"version-story": "versions/story.html", "version-matrix": "versions/matrix.html"}


@require_GET
@requires(Role.VIEWER)
def versions(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    span = listing.choice(request.GET, "range", tuple(select.SPANS), select.DEFAULT_SPAN)
    by = listing.choice(request.GET, "by", tuple(select.BY), "class")
    state = listing.State({"range": request.GET.get("range", ""), "by": request.GET.get("by", "")})
    lazy = Lazy(
        story=lambda: select.story(span, now),
        chart=lambda: select.chart(lazy.story),
        matrix=lambda: select.matrix(by, now),
    )
    context = {
        "lazy": lazy,
        "spans": [(label, state.url(range=key), key == span) for key, (label, *_) in select.SPANS.items()],
        "ways": [(label, state.url(by=key), key == by) for key, label in select.BY.items()],
        "by": by,
    }
    return page(request, "versions/versions.html", context, _PARTS)
