"""`manage.py demo`: the whole product on this machine, with six simulated devices. `make demo` calls it."""

import os
import shutil
import subprocess
import sys
import tempfile

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.db import connections

from fleet.accounts.first_start import ADMIN, prepare
from fleet.accounts.services import create_api_token
from fleet.demo import services, stack
from fleet.demo.loop import CHECK_REPORT, GROUP
from fleet.demo.supervisor import Supervisor
from fleet.devices.models import Group
from fleet.devices.services import create_group, create_token

#: Everything that an installation puts into its data folder.
OWN = (
    *("edgefleet.db*", "beat.db*", "artifacts", "work", "trials", "queue", "keys", "static", "devices", "mosquitto"),
    CHECK_REPORT,
)


#: The process that walks the loop.
GUIDE = "demo"


class Command(BaseCommand):
    help = "Starts every process of Edgefleet with six simulated devices. Ctrl-C ends them all; the data stay."
    requires_system_checks = ()  # the tables may not be there yet

    def add_arguments(self, parser):
        parser.add_argument("--port", type=int, default=8000, help="where the pages are; the next free one if taken")
        parser.add_argument("--mqtt-port", type=int, default=1883, help="where the broker is; likewise")
        parser.add_argument("--check", default="", metavar="NAME", help="walk the loop on fresh data, report, end")
        parser.add_argument("--reset", action="store_true", help="delete the demo's data, and do nothing else")
        parser.add_argument("--ready", action="store_true", help="say which services are missing, and do nothing else")

    def handle(self, **options):
        missing = [] if options["reset"] else list(services.missing())
        if missing or options["ready"]:
            self.stdout.write("\n".join(missing) or f"Everything that {_profile()} needs is there.")
            sys.exit(1 if missing else 0)
        if options["reset"]:
            return self._reset()
        if options["check"] and "EDGEFLEET_FRESH" not in os.environ:
            return self._in_fresh_folder()
        external = settings.MQTT_URL if settings.MQTT_BROKER == "external" else ""
        running = stack.Stack(
            web_port=self._port("web", options["port"]),
            mqtt_port=0 if external else self._port("mqtt", options["mqtt_port"]),
            external_url=external,
        )
        password = self._prepare()
        guide = stack.Process(
            GUIDE,
            (sys.executable, "manage.py", "demo_guide", "--check", options["check"]),
            {"EDGEFLEET_API_TOKEN": self._api_token(), "EDGEFLEET_FIRST_PASSWORD": password},
        )
        token = "" if stack.enrolled() else self._enrollment_token()
        code = self._supervise(running, [*running.server(), *running.devices(token), guide], options["check"])
        report = settings.DATA_DIR / CHECK_REPORT
        if options["check"] and report.exists():
            self.stdout.write(report.read_text())
        asked_to_end = not options["check"] and code == 130
        sys.exit(0 if asked_to_end else code)

    def _reset(self):
        """Delete what an installation makes, by name: whatever else lies in the folder is somebody's."""
        if settings.PROFILE:
            services.remove()
            self.stdout.write(f"Database and keys of {_profile()} are gone.")
        if not settings.DATA_DIR.exists():
            return
        for pattern in OWN:
            for path in list(settings.DATA_DIR.glob(pattern)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        left = sorted(path.name for path in settings.DATA_DIR.iterdir())
        if left:
            self.stdout.write(f"The demo's data are gone; {settings.DATA_DIR} still holds {', '.join(left)}.")
        else:
            settings.DATA_DIR.rmdir()
            self.stdout.write(f"{settings.DATA_DIR} is gone; the next `make demo` starts afresh.")

    @staticmethod
    def _in_fresh_folder():
        """Run this command again, on an empty data folder that is deleted afterwards."""
        with tempfile.TemporaryDirectory(prefix="edgefleet-check-") as folder:
            env = {**os.environ, "EDGEFLEET_DATA": folder, "EDGEFLEET_FRESH": "1"}
            try:
                code = subprocess.run([sys.executable, *sys.argv], env=env, check=False).returncode  # noqa: S603  # ourselves
            except KeyboardInterrupt:
                code = 130
            if settings.PROFILE:
                subprocess.run([sys.executable, "manage.py", "demo", "--reset"], env=env, check=True)  # ourselves
        sys.exit(code)

    def _port(self, name: str, wanted: int) -> int:
        port = stack.free_port(wanted)
        if port != wanted:
            self.stdout.write(f"Port {wanted} is taken by another program; {name} uses {port}.")
        return port

    def _prepare(self) -> str:
        """Tables, static files, the first admin. Returns the admin's password when it was made now."""
        settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
        self.stdout.write(f"Data folder: {settings.DATA_DIR}")
        if settings.PROFILE:
            services.make_database()
            self.stdout.write(f"Profile {_profile()}: database {settings.DATABASES['default']['NAME']}")
        return prepare()

    @staticmethod
    def _api_token() -> str:
        """The demo's own API token, made anew at each start."""
        admin = User.objects.get(username=ADMIN)
        admin.api_tokens.filter(name="demo").delete()
        return create_api_token(admin, "demo")[1]

    @staticmethod
    def _enrollment_token() -> str:
        admin = User.objects.get(username=ADMIN)
        group = Group.objects.filter(name=GROUP).first() or create_group(GROUP, "Every simulated device", admin)
        _, text = create_token("Simulated devices", admin, max_uses=len(stack.DEVICES), auto_accept=True, group=group)
        return text

    def _supervise(self, running: stack.Stack, processes: list[stack.Process], check: str) -> int:
        """Run them until one ends or a signal comes; then all end. Returns the exit code of the first that ended."""
        connections.close_all()  # the processes fork from here
        manager = Supervisor()
        for process in processes:
            manager.add_process(process.name, process.line, env={**running.environment, **process.env})
        manager.loop()
        # A check ends with its guide, as it should; its data are those of the check alone.
        if manager.first and not (check and manager.first.name == GUIDE):
            self.stdout.write(f"{manager.first}, so the others were ended too{'' if check else '; the data stay'}.")
        return manager.returncode or 0


def _profile() -> str:
    return settings.PROFILE or "the embedded profile"
