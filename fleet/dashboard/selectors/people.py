"""Who has access."""

from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import User

from fleet.accounts.roles import Role


@dataclass(frozen=True, slots=True)
class Person:
    pk: int
    username: str
    role: Role | None
    active: bool
    last_login: datetime | None
    joined: datetime

    @property
    def role_label(self) -> str:
        return self.role.label if self.role else ""


def people() -> list[Person]:
    """Everybody, the active ones first; two queries."""
    rows = User.objects.prefetch_related("groups").order_by("-is_active", "username")
    return [
        Person(user.pk, user.username, _role(user), user.is_active, user.last_login, user.date_joined) for user in rows
    ]


def _role(user: User) -> Role | None:
    if user.is_superuser:
        return Role.ADMIN
    names = {group.name for group in user.groups.all()}
    return max((role for role in Role if role.label in names), default=None)
