"""`manage.py broker`: the embedded MQTT broker, until SIGTERM or Ctrl-C."""

import asyncio
import resource
import signal

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from agent.wire.topics import GATEWAY_FILTERS
from fleet.brokers.embedded.broker import BrokerError, EmbeddedBroker, run_loop, tls_context
from fleet.brokers.embedded.limits import Limits
from fleet.brokers.follower import Follower
from fleet.brokers.identities import IdentityTable

#: Open files beside the connections: database, log, listener, libraries.
OTHER_FILES = 100
#: The client id of the gateway's inbox (fleet.gateway.inbox).
INBOX = "server-inbox"


class Command(BaseCommand):
    help = "Run the embedded MQTT broker on MQTT_BIND:MQTT_PORT. Devices and enrollment tokens come from the database."
    requires_system_checks = ()  # the web process makes them; the broker should be up before it

    def handle(self, *args, **options):
        table = IdentityTable(settings.MQTT_USERNAME, settings.MQTT_SERVER_SECRET)
        limits = Limits()
        self._allow_files(limits.max_connections + OTHER_FILES)
        try:
            broker = EmbeddedBroker(
                table,
                settings.MQTT_BIND,
                settings.MQTT_PORT,
                tls=self._tls(),
                limits=limits,
                follower=Follower(table),
                standing={INBOX: GATEWAY_FILTERS},
            )
            run_loop(self._serve(broker))
        except BrokerError as problem:
            raise CommandError(str(problem)) from problem

    async def _serve(self, broker: EmbeddedBroker) -> None:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, broker.stop)

        def ready() -> None:
            self.stdout.write(f"broker: listening on {broker.host}:{broker.port}, {len(broker.table)} identities")
            self.stdout.flush()

        await broker.serve(ready)

    def _tls(self):
        if not settings.MQTT_TLS_CERTIFICATE and not settings.MQTT_TLS_KEY:
            return None
        return tls_context(settings.MQTT_TLS_CERTIFICATE, settings.MQTT_TLS_KEY)

    def _allow_files(self, wanted: int) -> None:
        """Many systems start processes with 1,024 open files, and a connection is one."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft >= wanted or soft == resource.RLIM_INFINITY:
            return
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < wanted:
            self.stderr.write(
                f"broker: this system allows {allowed} open files, so about {allowed - OTHER_FILES} connections; "
                f"raise the hard limit (ulimit -Hn) to {wanted} for more."
            )
