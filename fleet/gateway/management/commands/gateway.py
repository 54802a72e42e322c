"""`manage.py gateway`: the one bridge between MQTT and the database."""

import signal
import threading

from django.core.management.base import BaseCommand

from fleet.gateway import handlers
from fleet.gateway.blocks import BlockServer
from fleet.gateway.drain import Drain
from fleet.gateway.inbox import Inbox


class Command(BaseCommand):
    help = "Carries messages between the broker and the database until it is told to stop."
    requires_system_checks = ()  # they would load every page of the dashboard

    def handle(self, **_options):
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
    def _run(part, stop):
        """A part that dies takes the process down: the supervisor starts it again whole."""
        try:
            part.run()
        finally:
            stop()
