"""Enrollment tokens and pending devices."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST

from fleet.accounts.roles import Role, requires
from fleet.dashboard.forms.devices import TokenForm
from fleet.dashboard.pages import Lazy, act, go, page, saved
from fleet.dashboard.selectors import enrollment as select
from fleet.devices import services, tagging
from fleet.devices.models import EnrollmentToken

_PARTS = {"pending-devices": "enrollment/pending.html", "token-list": "enrollment/tokens.html"}


def _context(request: HttpRequest, **more: object) -> dict[str, object]:
    lazy = Lazy(tokens=lambda: select.tokens(request.GET, timezone.now()), pending=select.waiting)
    return {
        "lazy": lazy,
        "form": TokenForm(),
        "address": select.broker_address(request.get_host(), settings),
        **more,
    }


@require_GET
@requires(Role.VIEWER)
def overview(request: HttpRequest) -> HttpResponse:
    return page(request, "enrollment/enrollment.html", _context(request), _PARTS)


@require_POST
@requires(Role.ADMIN)
def create(request: HttpRequest) -> HttpResponse:
    """The token's text is in this answer and nowhere else."""
    form = TokenForm(request.POST)
    made: list[object] = []

    def new() -> None:
        given = form.cleaned_data
        made.extend(
            services.create_token(
                given["name"],
                request.user,
                max_uses=given["max_uses"],
                auto_accept=given["auto_accept"],
                expires_at=form.expires_at(),
                group=given["group"],
                tags=tagging.words_of(given["tags"]),
            )
        )

    if not saved(form, new):
        return page(request, "enrollment/enrollment.html", _context(request, form=form), status=422)
    token, text = made
    response = page(request, "enrollment/enrollment.html", _context(request, new_token=token, new_text=text))
    response.headers["Cache-Control"] = "no-store"
    return response


@require_POST
@requires(Role.ADMIN)
def revoke(request: HttpRequest, token_id: str) -> HttpResponse:
    token = get_object_or_404(EnrollmentToken, pk=token_id)

    def end() -> str:
        services.revoke_token(token, request.user)
        return gettext("Nobody can enroll with {token} any more; devices that came with it stay.").format(
            token=token.name
        )

    act(request, end)
    return go(request, "enrollment")
