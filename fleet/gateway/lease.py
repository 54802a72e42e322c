"""Of several gateways one leads and the others stand by: a row in the database says which, for some seconds at a time.

Client ids are fixed, so that the one who takes over gets what the other had not acknowledged; with two at once, a
broker would cut the one for the other for ever. The database's clock counts, so that nobody's own has to be right.
"""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, models
from django.db.models import Case, F, Q, When
from django.db.models.functions import Now

from fleet.gateway.models import Lease

log = logging.getLogger(__name__)

NAME = "gateway"


class Leadership:
    """This process's claim. `take` and `keep` are one conditional UPDATE each."""

    def __init__(self) -> None:
        self.me = f"{socket.gethostname()[:80]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._kept = 0.0
        self._stop = threading.Event()

    def take(self) -> bool:
        """Whether this process leads now."""
        Lease.objects.get_or_create(name=NAME)
        began = time.monotonic()
        mine = Q(holder=self.me)
        rows = Lease.objects.filter(mine | Q(holder="") | Q(until__lt=Now()), name=NAME)
        took = rows.update(
            since=Case(When(mine, then=F("since")), default=Now(), output_field=models.DateTimeField()),
            holder=self.me,
            until=Now() + timedelta(seconds=settings.LEASE_SECONDS),
        )
        if took:
            self._kept = began
        return bool(took)

    def keep(self, figures: dict[str, object]) -> bool:
        """Say that this process lives, and how it is doing; False when another one leads."""
        began = time.monotonic()
        kept = Lease.objects.filter(name=NAME, holder=self.me).update(
            until=Now() + timedelta(seconds=settings.LEASE_SECONDS), figures=figures
        )
        if kept:
            self._kept = began
        return bool(kept)

    def release(self) -> None:
        """Let another one lead at once."""
        Lease.objects.filter(name=NAME, holder=self.me).update(holder="")

    @property
    def over(self) -> bool:
        """Whether another one may lead by now: it was not renewed for too long."""
        return time.monotonic() - self._kept > 0.9 * settings.LEASE_SECONDS

    def run(self, figures: Callable[[], dict[str, object]]) -> None:
        """Renew until stopped or lost; a database that is away is asked again."""
        while not self._stop.wait(settings.LEASE_SECONDS / 5):
            try:
                close_old_connections()
                if not self.keep(figures()):
                    self._kept = -settings.LEASE_SECONDS
                    return
            except (DatabaseError, InterfaceError) as problem:
                log.error("the lease could not be renewed: %s", str(problem).strip())

    def stop(self) -> None:
        self._stop.set()


def leader() -> str:
    """Who leads, for people."""
    row = Lease.objects.filter(name=NAME, until__gte=Now()).first()
    return row.holder if row else ""
