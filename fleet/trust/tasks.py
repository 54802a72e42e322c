"""The periodic renewal."""

from django.utils import timezone

from fleet.celery import app
from fleet.trust import services


@app.task
def renew() -> None:
    """Sign again what grows old, so that a device can tell that nothing newer is kept from it."""
    services.renew(timezone.now())
