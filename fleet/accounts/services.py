"""People and their API tokens."""

import hashlib
import secrets

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from fleet import text
from fleet.accounts.models import ApiToken
from fleet.accounts.roles import Role, give, role_of
from fleet.audit.services import record
from fleet.errors import Refused

TOKEN_PREFIX = "eft_"  # noqa: S105  # what a token begins with, so that people recognise one


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def create_api_token(user: User, name: str, expires_at=None) -> tuple[ApiToken, str]:
    """A new token and its text, which nobody can read again."""
    unnamed = "Give the token a name, so that you know later what it is for."
    name = text.line(name, "A token's name", 64, unnamed)
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token = ApiToken.objects.create(user=user, name=name, digest=_digest(secret), expires_at=expires_at)
    record("api_token.created", f"{user.username} made the API token “{token.name}”", actor=user)
    return token, secret


def revoke_api_token(token: ApiToken, by: User) -> None:
    if token.user_id != by.pk and role_of(by) is not Role.ADMIN:
        raise Refused("Only its owner or an admin can revoke a token.")
    token.delete()
    record("api_token.revoked", f"The API token “{token.name}” was revoked", actor=by)


def user_of_token(secret: str) -> User | None:
    """Who a bearer token speaks for; None when it is unknown, expired or its owner inactive."""
    now = timezone.now()
    token = ApiToken.objects.select_related("user").filter(digest=_digest(secret), user__is_active=True).first()
    if token is None or (token.expires_at and token.expires_at <= now):
        return None
    if token.last_used_at is None or (now - token.last_used_at).total_seconds() > 60:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token.user


@transaction.atomic
def create_person(username: str, role: Role, by: User | None, password: str = "") -> tuple[User, str]:
    """A new person and the password to hand over (made at random when none is given)."""
    password = password or secrets.token_urlsafe(12)
    username = User.normalize_username(text.line(username, "A person's name", 150, "Give the person a name."))
    # Names that differ in their case alone would be taken for one another in the log.
    if same := User.objects.filter(username__iexact=username).first():
        raise Refused(f"There is already a person called {same.username}.")
    try:
        with transaction.atomic():
            user = User.objects.create_user(username=username, password=password)
    except IntegrityError as problem:
        raise Refused(f"There is already a person called {username}.") from problem
    give(user, role)
    record("person.created", f"{user.username} was added as {role.label}", actor=by)
    return user, password


def set_role(user: User, role: Role, by: User) -> None:
    _keep_one_admin(user, role)
    give(user, role)
    record("person.role", f"{user.username} is now {role.label}", actor=by)


@transaction.atomic
def deactivate(user: User, by: User) -> None:
    if user.pk == by.pk:
        raise Refused("You cannot deactivate yourself.")
    _keep_one_admin(user, None)
    User.objects.filter(pk=user.pk).update(is_active=False)
    ApiToken.objects.filter(user=user).delete()
    record("person.deactivated", f"{user.username} was deactivated", actor=by)


def _keep_one_admin(user: User, role: Role | None) -> None:
    if role_of(user) is not Role.ADMIN or role is Role.ADMIN:
        return
    others = User.objects.filter(is_active=True).exclude(pk=user.pk).filter(groups__name=Role.ADMIN.label)
    if not others.exists():
        raise Refused("This is the last admin; make somebody else an admin first.")
