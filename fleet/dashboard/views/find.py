"""The palette's one endpoint."""

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_GET

from fleet.accounts.roles import Role, requires
from fleet.dashboard import listing
from fleet.dashboard.selectors.find import find


@require_GET
@requires(Role.VIEWER)
def found(request: HttpRequest) -> JsonResponse:
    """`?q=arm`: `{"found": [{"label", "detail", "url"}]}`."""
    answer = JsonResponse({"found": find(listing.text(request.GET, "q"), request.user)})
    answer.headers["Cache-Control"] = "no-store"
    return answer
