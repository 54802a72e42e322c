"""What an installation needs before its processes start: tables, keys, static files, somebody who can log in."""

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command

from fleet.accounts.roles import Role
from fleet.accounts.services import create_person
from fleet.trust.services import ensure

ADMIN = "admin"


def prepare() -> str:
    """Safe to repeat at each start. Returns the first admin's password if that one was made now, else nothing."""
    settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
    call_command("migrate", verbosity=0, interactive=False)
    call_command("collectstatic", verbosity=0, interactive=False, ignore_patterns=["datasets", "templates"])
    ensure()
    if User.objects.exists():
        return ""
    return create_person(ADMIN, Role.ADMIN, by=None, password=settings.FIRST_PASSWORD)[1]
