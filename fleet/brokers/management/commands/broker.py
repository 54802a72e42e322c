"""`manage.py broker`: the MQTT broker with its logins, until SIGTERM or Ctrl-C."""

import asyncio
import functools
import resource
import signal
from pathlib import Path

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from agent.wire.topics import GATEWAY_FILTERS
from fleet.brokers.embedded.broker import BrokerError, EmbeddedBroker, run_loop, tls_context
from fleet.brokers.embedded.limits import Limits
from fleet.brokers.follower import Follower, read_all
from fleet.brokers.identities import IdentityTable
from fleet.brokers.mosquitto import configuration, dynsec
from fleet.brokers.mosquitto.broker import MosquittoBroker
from fleet.brokers.mosquitto.configuration import Place
from fleet.brokers.mosquitto.logins import Logins
from fleet.devices.credentials import token_secret

#: Open files beside the connections: database, log, listener, libraries.
OTHER_FILES = 100
#: The client id of the gateway's inbox (fleet.gateway.inbox).
INBOX = "server-inbox"


class Command(BaseCommand):
    help = (
        "Run the broker that MQTT_BROKER names on MQTT_BIND and MQTT_URL's port, or keep the logins of one elsewhere. "
        "Devices and enrollment tokens come from the database."
    )
    requires_system_checks = ()  # the web process makes them; the broker should be up before it

    def add_arguments(self, parser):
        parser.add_argument(
            "--state", metavar="FILE", help="write a state file for mosquitto's dynamic security with all logins; end"
        )

    def handle(self, *args, **options):
        if options["state"]:
            configuration.write_state(Path(options["state"]), dynsec.state(read_all(), settings.MQTT_SERVER_SECRET))
            return
        if settings.MQTT_BROKER not in {"embedded", "mosquitto", "external"}:
            raise CommandError(f"MQTT_BROKER is {settings.MQTT_BROKER!r}; it is embedded, mosquitto or external.")
        try:
            self._embedded() if settings.MQTT_BROKER == "embedded" else self._mosquitto()
        except BrokerError as problem:
            raise CommandError(str(problem)) from problem

    def _embedded(self) -> None:
        table = IdentityTable(settings.MQTT_SERVER_SECRET)
        limits = Limits()
        self._allow_files(limits.max_connections + OTHER_FILES)
        broker = EmbeddedBroker(
            table,
            settings.MQTT_BIND,
            settings.MQTT_PORT,
            tls=self._tls(),
            limits=limits,
            follower=Follower(table),
            standing={INBOX: GATEWAY_FILTERS},
        )
        run_loop(self._serve(broker, lambda: f"listening on {broker.host}:{broker.port}, {len(table)} identities"))

    def _mosquitto(self) -> None:
        place, where = None, f"keeping the logins of {settings.MQTT_URL}"
        if settings.MQTT_BROKER == "mosquitto":
            self._tls()  # says what is wrong with the files before mosquitto does, in fewer words
            folder = settings.DATA_DIR / "mosquitto"
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            files = settings.MQTT_TLS_CERTIFICATE, settings.MQTT_TLS_KEY
            place = Place(folder, settings.MQTT_BIND, settings.MQTT_PORT, *files)
            where = f"listening on {place.host}:{place.port}"
        logins = Logins(functools.partial(token_secret, settings.SECRET_KEY))
        broker = MosquittoBroker(logins, Follower(logins), settings.MQTT_SERVER_SECRET, place)
        asyncio.run(self._serve(broker, lambda: f"mosquitto, {where}, {len(logins)} identities"))

    async def _serve(self, broker, words) -> None:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, broker.stop)

        def ready() -> None:
            self.stdout.write(f"broker: {words()}")
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
