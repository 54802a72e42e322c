"""The server's own inference: who uses it, how much, how fast, and what was refused."""

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from fleet.accounts.roles import Role, requires
from fleet.dashboard.pages import Lazy, page
from fleet.dashboard.selectors import inference as select
from fleet.inference.usage import limits

_PARTS = {"inference-figures": "inference/figures.html", "inference-list": "inference/list.html"}


@require_GET
@requires(Role.VIEWER)
def overview(request: HttpRequest) -> HttpResponse:
    now = timezone.now()
    lazy = Lazy(together=lambda: select.together(now), listing=lambda: select.users(request.GET, now))
    return page(request, "inference/inference.html", {"lazy": lazy, "limits": limits()}, _PARTS)
