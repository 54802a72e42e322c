"""`manage.py gateway`: the one bridge between MQTT and the database."""

import signal
import threading

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from fleet.gateway import handlers
from fleet.gateway.blocks import BlockServer
from fleet.gateway.drain import Drain
from fleet.gateway.inbox import Inbox
from fleet.gateway.models import Outbox

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
        blocks, drain = BlockServer(), Drain()
        inbox = Inbox(handlers.make(blocks.ask))
        parts = (inbox, drain, blocks)

        def stop(*_):
            for part in parts:
                part.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        threads = [threading.Thread(target=self._run, args=(part, stop), name=type(part).__name__) for part in parts]
        for thread in threads:
            thread.start()
        self.stdout.write("gateway: running")
        for thread in threads:
            while thread.is_alive():  # a bare join would hold signals back
                thread.join(0.5)

    @staticmethod
    def _check():
        oldest = Outbox.objects.order_by("id").values_list("created_at", flat=True).first()
        waits = (timezone.now() - oldest).total_seconds() if oldest else 0
        if waits > WAITS_SECONDS:
            raise CommandError(f"The oldest message to a device waits for {waits:.0f} s: is the broker there?")

    @staticmethod
    def _run(part, stop):
        """A part that dies takes the process down: the supervisor starts it again whole."""
        try:
            part.run()
        finally:
            stop()
