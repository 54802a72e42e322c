"""Who may call an operation: a session (with CSRF protection) or a bearer token, and a role."""

from django.http import HttpRequest
from ninja.errors import HttpError
from ninja.security import HttpBearer, SessionAuth

from fleet.accounts.roles import Role, role_of
from fleet.accounts.services import user_of_token


def _held(user, role: Role):
    have = role_of(user)
    if have is None or have < role:
        raise HttpError(403, f"This needs the role {role.label}; yours is {have.label if have else 'none'}.")
    return user


class _Token(HttpBearer):
    def __init__(self, role: Role) -> None:
        super().__init__()
        self.role = role

    def authenticate(self, request: HttpRequest, token: str):
        user = user_of_token(token)
        if user is None:
            return None
        request.user = user
        return _held(user, self.role)


class _Session(SessionAuth):
    def __init__(self, role: Role) -> None:
        super().__init__(csrf=True)
        self.role = role

    def authenticate(self, request: HttpRequest, key: str | None):
        return _held(request.user, self.role) if request.user.is_authenticated else None


def allow(role: Role) -> list:
    """The `auth` of an operation that needs `role`."""
    return [_Token(role), _Session(role)]
