"""`manage.py gateway`: the one bridge between MQTT and the database. A second one stands by, and takes over.

1. Wait until no other gateway leads (fleet.gateway.lease).
2. Run inbox, summing, drain and block server until told to stop, or until the lease is lost.
3. When told to stop, give the lease back, so that the next one need not wait.
"""

import gc
import signal
import threading

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError, close_old_connections
from django.utils import timezone

from fleet.gateway import handlers
from fleet.gateway.blocks import BlockServer
from fleet.gateway.drain import Drain
from fleet.gateway.health import Health
from fleet.gateway.inbox import Inbox
from fleet.gateway.lease import Leadership, leader
from fleet.gateway.models import Outbox
from fleet.telemetry.summing import Summing

#: A message to a device that waits for longer than this is a sign that nobody sends it.
WAITS_SECONDS = 60


class Command(BaseCommand):
    help = "Carries messages between the broker and the database until it is told to stop."
    requires_system_checks = ()  # they would load every page of the dashboard

    def add_arguments(self, parser):
        parser.add_argument(
            "--healthy", action="store_true", help="end with 1 if what the running one has to send waits for too long"
        )

    def handle(self, **options):
        if options["healthy"]:
            return self._check()
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        # What is loaded stays, and a batch makes tens of thousands of objects: looking through them again is in vain.
        gc.freeze()
        gc.set_threshold(100_000)
        self.stdout.write("gateway: running")
        while self._wait_to_lead(stop, mine := Leadership()):
            self._lead(stop, mine)

    def _wait_to_lead(self, stop: threading.Event, mine: Leadership) -> bool:
        """True when this gateway leads, False when it shall end."""
        said = ""
        while not stop.is_set():
            try:
                close_old_connections()
                if mine.take():
                    self.stdout.write(f"gateway: leading as {mine.me}")
                    return True
                if (other := leader()) != said:
                    said = other
                    self.stdout.write(f"gateway: standing by, {other or 'another one'} leads")
            except (DatabaseError, InterfaceError) as problem:
                self.stderr.write(f"gateway: the database is away: {str(problem).strip()}")
            stop.wait(1.0)
        return False

    def _lead(self, stop: threading.Event, mine: Leadership) -> None:
        health, blocks = Health(), BlockServer()
        parts = (Inbox(handlers.make(blocks.ask, health), health=health), Summing(health.took_up), Drain(), blocks)
        threads = [threading.Thread(target=part.run, name=type(part).__name__) for part in parts]
        lease = threading.Thread(target=mine.run, args=(health.figures,), name="lease", daemon=True)
        for thread in (lease, *threads):
            thread.start()
        while not stop.wait(0.5) and all(thread.is_alive() for thread in threads) and not mine.over:
            pass
        lost, died = mine.over, [thread.name for thread in threads if not thread.is_alive()]
        mine.stop()
        for part in parts:
            part.stop()
        for thread in threads:
            thread.join()
        if lost:
            self.stderr.write("gateway: the lease was lost, another one may lead")
            return
        try:
            mine.release()
        except (DatabaseError, InterfaceError) as problem:
            self.stderr.write(f"gateway: the lease could not be given back: {str(problem).strip()}")
        if died:  # the supervisor starts it again whole
            raise CommandError(f"{', '.join(died)} ended by itself.")

    @staticmethod
    def _check():
        oldest = Outbox.objects.order_by("id").values_list("created_at", flat=True).first()
        waits = (timezone.now() - oldest).total_seconds() if oldest else 0
        if waits > WAITS_SECONDS:
            raise CommandError(f"The oldest message to a device waits for {waits:.0f} s: is the broker there?")
