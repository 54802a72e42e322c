"""Three roles, each containing the one before: viewers look, operators act, admins manage people and tokens."""

import functools
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.contrib.auth.models import AnonymousUser, Group, User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase


class Role(IntEnum):
    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def label(self) -> str:
        return self.name.lower()


def role_of(user: User | AnonymousUser) -> Role | None:
    """The highest role of a user; None for a stranger. Read once for each request (the user object keeps it)."""
    if not user.is_authenticated or not user.is_active:
        return None
    if user.is_superuser:
        return Role.ADMIN
    if not hasattr(user, "_edgefleet_role"):
        names = set(user.groups.values_list("name", flat=True))
        user._edgefleet_role = max((role for role in Role if role.label in names), default=None)
    return user._edgefleet_role


def give(user: User, role: Role) -> None:
    """Make `role` the user's only one."""
    user.groups.set([Group.objects.get_or_create(name=role.label)[0]])
    user.__dict__.pop("_edgefleet_role", None)


def requires(role: Role) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Guard a view: strangers are sent to the login page, users below `role` get 403."""

    def check(request: HttpRequest) -> HttpResponseBase | None:
        have = role_of(request.user)
        if have is None and not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        if have is None or have < role:
            raise PermissionDenied(f"This needs the role {role.label}; yours is {have.label if have else 'none'}.")
        return None

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        if iscoroutinefunction(view):

            @functools.wraps(view)
            async def guarded(request, *args, **kwargs):
                refused = await sync_to_async(check)(request)
                return refused or await view(request, *args, **kwargs)
        else:

            @functools.wraps(view)
            def guarded(request, *args, **kwargs):
                return check(request) or view(request, *args, **kwargs)

        guarded.required_role = role
        return guarded

    return decorate
