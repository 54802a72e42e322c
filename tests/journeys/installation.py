"""A whole installation for a test: the real processes, on free ports, in a folder of its own."""

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fleet.demo.client import Client, wait_for
from fleet.demo.stack import Process, Stack
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


class Installation:
    """Starts what `make demo` starts, but for the simulated devices; `start_agent` brings those that a test needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.password = secrets.token_urlsafe(12)
        self.stack = Stack(web_port=free_port(), mqtt_port=free_port())
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            **{key: value for key, value in self.stack.environment.items() if not key.startswith("PYTEST")},
            "DJANGO_SETTINGS_MODULE": "fleet.settings",
            "EDGEFLEET_DATA": str(folder / "server"),
            "PYTHONPATH": str(ROOT),
        }
        self.api: Client

    @property
    def address(self) -> str:
        return self.stack.address

    def start(self) -> "Installation":
        self.manage("migrate", "-v0")
        self.manage("collectstatic", "-v0", "--noinput", "-i", "datasets", "-i", "templates")
        self.api = Client(self.address, self.shell(_MAKE_PEOPLE.format(password=self.password)))
        for process in self.stack.server():
            self.run(process)
        wait_for("the pages", lambda: self.api.get("/me"), 60)
        self.wait_for("the gateway", lambda: "inbox is connected" in self.log_of("gateway"), 60)
        return self

    def run(self, process: Process) -> subprocess.Popen[bytes]:
        """Start one process; its output goes to a file named after it."""
        env = {**self.environment, **process.env}
        with (self.folder / f"{process.name}.log").open("ab") as log:
            running = subprocess.Popen(process.command, cwd=ROOT, env=env, stdout=log, stderr=log)
        self.processes[process.name] = running
        return running

    def process_of(self, name: str) -> Process:
        return next(process for process in self.stack.server() if process.name == name)

    def kill(self, name: str) -> None:
        """kill -9, as a power cut would."""
        dead = self.processes.pop(name)
        dead.kill()
        dead.wait()

    def start_agent(self, name: str, token: str, command: tuple[str, ...] = (), **settings: Any) -> None:
        """The real agent as a process; settings are its environment variables without their prefix."""
        given = {
            "data": self.folder / "devices" / name,
            "server": f"mqtt://127.0.0.1:{self.stack.mqtt_port}",
            "token": token,
            "name": name,
            "threads": 1,
            **settings,
        }
        env = {f"EDGE_AGENT_{key.upper()}": str(value) for key, value in given.items()}
        self.run(Process(name, command or (sys.executable, "-m", "agent", "run"), env))

    def log_of(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def device(self, name: str) -> dict:
        """As the server has it from the device's own reports; empty when there is none of that name."""
        return next((d for d in self.api.every("/devices", search=name) if d["name"] == name), {})

    def wait_for(self, what: str, condition: Callable[[], Any], seconds: float = 30) -> Any:
        """As fleet.demo.client.wait_for, and with the ends of the logs when it did not happen."""
        try:
            return wait_for(what, condition, seconds)
        except TimeoutError as problem:
            tails = "\n".join(f"--- {name}\n{self.log_of(name)[-1500:]}" for name in self.processes)
            raise AssertionError(f"{problem}\n{tails}") from None

    def manage(self, *words: str) -> str:
        return subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def shell(self, code: str) -> str:
        """Run code inside the server's Django; returns the last line that it printed."""
        return self.manage("shell", "-v0", "-c", code).strip().splitlines()[-1]

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        end = time.monotonic() + 8
        for process in self.processes.values():
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.api.close()

    def complaints(self) -> list[str]:
        """Tracebacks in any log: a process that recovered silently is no clean run."""
        found = []
        for path in self.folder.glob("*.log"):
            text = path.read_text(errors="replace")
            found += [f"{path.stem}: {text[at.start() : at.start() + 3000]}" for at in re.finditer("Traceback", text)]
        return found


_MAKE_PEOPLE = """
from fleet.accounts.roles import Role
from fleet.accounts.services import create_api_token, create_person
for role in Role:
    user, _ = create_person(role.label, role, by=None, password="{password}")
print(create_api_token(user, "journeys")[1])
"""


def without_proxies() -> None:
    """Loopback is reached directly, whatever the machine's environment says."""
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
