"""Signing in and out, and one's own account."""

from datetime import timedelta

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth import views as auth_views
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_POST

from fleet.accounts import services
from fleet.accounts.models import ApiToken
from fleet.accounts.roles import Role, requires
from fleet.dashboard.forms.accounts import ApiTokenForm, PasswordForm, SignIn
from fleet.dashboard.pages import act, form_again, go, page, saved
from fleet.search.services import views_for

sign_in = auth_views.LoginView.as_view(
    template_name="accounts/login.html", authentication_form=SignIn, redirect_authenticated_user=True
)
sign_out = auth_views.LogoutView.as_view()


def _account(request: HttpRequest, **more: object) -> dict[str, object]:
    return {
        "tokens": ApiToken.objects.filter(user=request.user),
        "token_form": ApiTokenForm(prefix="token"),
        "password_form": PasswordForm(request.user, prefix="password"),
        "views": views_for(request.user),
        "now": timezone.now(),
        **more,
    }


@require_GET
@requires(Role.VIEWER)
def account(request: HttpRequest) -> HttpResponse:
    return page(request, "accounts/account.html", _account(request))


@require_POST
@requires(Role.VIEWER)
def create_token(request: HttpRequest) -> HttpResponse:
    """The token's text is in this answer and nowhere else."""
    form = ApiTokenForm(request.POST, prefix="token")
    made: list[object] = []

    def create() -> None:
        days = form.cleaned_data["expires"]
        ends = timezone.now() + timedelta(days=days) if days else None
        made.extend(services.create_api_token(request.user, form.cleaned_data["name"], ends))

    if not saved(form, create, "name"):
        return page(request, "accounts/account.html", _account(request, token_form=form), status=422)
    token, text = made
    response = page(request, "accounts/account.html", _account(request, new_token=token, new_text=text))
    response.headers["Cache-Control"] = "no-store"
    return response


@require_POST
@requires(Role.VIEWER)
def revoke_token(request: HttpRequest, token_id: int) -> HttpResponse:
    token = get_object_or_404(ApiToken, pk=token_id, user=request.user)

    def revoke() -> str:
        services.revoke_api_token(token, request.user)
        return gettext("The token {token} no longer works.").format(token=token.name)

    act(request, revoke)
    return go(request, "account")


@sensitive_post_parameters()
@require_POST
@requires(Role.VIEWER)
def change_password(request: HttpRequest) -> HttpResponse:
    form = PasswordForm(request.user, request.POST, prefix="password")
    if not form.is_valid():
        return form_again(
            request, "accounts/password_form.html", {"password_form": form}, gettext("Change your password")
        )
    form.save()
    update_session_auth_hash(request, form.user)  # this session stays, every other one ends
    messages.success(request, gettext("Your password is changed. Other sessions were signed out."))
    return go(request, "account")
