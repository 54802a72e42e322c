"""`manage.py prepare`: everything that has to be there before the server's processes start."""

from django.conf import settings
from django.core.management.base import BaseCommand

from fleet.accounts.first_start import ADMIN, prepare


class Command(BaseCommand):
    help = (
        "Makes the data folder with its keys, the tables, the static files and, where there is nobody yet, the first "
        f"admin: {ADMIN}, with the password in EDGEFLEET_ADMIN_PASSWORD or a random one that is shown once."
    )
    requires_system_checks = ()  # the tables may not be there yet

    def handle(self, **_options):
        password = prepare()
        if password:
            shown = "from EDGEFLEET_ADMIN_PASSWORD" if settings.FIRST_PASSWORD else f"{password} (shown this once)"
            self.stdout.write(f"Log in as {ADMIN} with the password {shown}. Change it under Account.")
