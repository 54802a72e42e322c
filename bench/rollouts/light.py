"""An installation with light devices: the real server's processes, and some processes of `agent.simulate`."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from fleet.demo.client import Client, wait_for
from fleet.demo.stack import Process, Stack, free_port

ROOT = Path(__file__).resolve().parents[2]
MEMORY = Path("/dev/shm")  # noqa: S108  # a folder of our own is made in it
GROUP = "light"

#: Prints an API token of an administrator.
PERSON = """
from fleet.accounts.roles import Role
from fleet.accounts.services import create_api_token, create_person
person, _ = create_person("light", Role.ADMIN, by=None)
print(create_api_token(person, "light")[1])
"""
#: Prints the id of a release of bytes at random, {size} for each class of device.
RELEASE = """
import json, os
from agent.wire import manifest as wire
from agent.wire.hardware import DeviceClass
from fleet.catalog import store
from fleet.catalog.models import Model, ModelVersion, Release, Trial, Variant
from fleet.trust import services as trust

model, _ = Model.objects.get_or_create(name="light")
number = model.versions.count() + 1
version = ModelVersion.objects.create(model=model, number=number, format="onnx", file_name="m.onnx", digest="ab" * 32,
    size={size})
datas = [("model", os.urandom({size} - 5000)), ("golden", os.urandom(5000))]
parts = tuple(wire.Part(store.put_bytes(data), len(data), role) for role, data in datas)
whole = wire.digest_of(b"".join(data for _, data in datas))
release = Release.objects.create(version=version, number=1)
for kind in DeviceClass:
    manifest = wire.Manifest(model="light", version=str(number), variant="random", device_class=kind, digest=whole,
        size={size}, parts=parts)
    data = wire.encode(manifest)
    trial = Trial.objects.create(version=version, device_class=kind, key=wire.digest_of(data), name="random",
        verdict="won")
    variant = Variant.objects.create(version=version, device_class=kind, trial=trial, bytes={size},
        manifest_digest=wire.digest_of(data), manifest=json.loads(data))
    release.variants.add(variant)
trust.vouch(release.variants.select_related("version"))
print(release.pk)
"""


class LightFleet:
    """Processes on free ports, in a folder of their own. Devices keep their files in this machine's memory."""

    def __init__(self, folder: Path, broker: str) -> None:
        self.folder = folder
        self.disks = Path(tempfile.mkdtemp(prefix="edgefleet-light-", dir=MEMORY if MEMORY.is_dir() else None))
        self.stack = Stack(web_port=free_port(23_000), mqtt_port=free_port(24_000))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environment = {
            **{key: value for key, value in self.stack.environment.items() if not key.startswith("PYTEST")},
            "DJANGO_SETTINGS_MODULE": "fleet.settings",
            "EDGEFLEET_DATA": str(folder / "server"),
            "DATABASE_URL": f"sqlite:///{folder / 'server' / 'edgefleet.db'}",
            "EDGEFLEET_LOG": "INFO",
            "MQTT_BROKER": broker,
            "PYTHONPATH": str(ROOT),
        }
        self.token = ""
        self.api: Client

    # --- The server ---

    def start(self) -> "LightFleet":
        self.manage("migrate", "-v0")
        self.manage("collectstatic", "-v0", "--noinput", "-i", "datasets", "-i", "templates")
        self.api = Client(self.stack.address, self.shell(PERSON))
        self.start_server()
        return self

    def start_server(self) -> None:
        for process in self.stack.server():
            if process.name != "optimizer":
                self.run(process)
        wait_for("the pages", lambda: self.api.get("/me"), 60)
        wait_for("the gateway", lambda: "inbox is connected" in self.log_of("gateway"), 60)

    def run(self, process: Process) -> None:
        with (self.folder / f"{process.name}.log").open("ab") as log:
            self.processes[process.name] = subprocess.Popen(  # noqa: S603  # ourselves
                process.command, cwd=ROOT, env={**self._environment, **process.env}, stdout=log, stderr=log
            )

    def kill(self, *names: str) -> None:
        """kill -9, as a power cut would."""
        dead = [self.processes.pop(name) for name in names]
        for each in dead:
            each.kill()
        for each in dead:
            each.wait()

    def end(self, name: str) -> None:
        """In good order."""
        ending = self.processes.pop(name)
        ending.terminate()
        ending.wait(60)

    def close(self) -> None:
        for each in self.processes.values():
            each.terminate()
        for each in self.processes.values():
            try:
                each.wait(20)
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait()
        self.api.close()
        shutil.rmtree(self.disks, ignore_errors=True)

    def manage(self, *words: str) -> str:
        done = subprocess.run(  # noqa: S603  # ourselves
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=self._environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def shell(self, code: str) -> str:
        """Run code inside the server's Django; the last line that it printed."""
        return self.manage("shell", "-v0", "-c", code).strip().splitlines()[-1]

    def log_of(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def process_of(self, name: str) -> Process:
        return next(process for process in self.stack.server() if process.name == name)

    def complaints(self) -> list[str]:
        """Tracebacks in any log."""
        return [
            f"{path.stem}: {path.read_text(errors='replace').partition('Traceback')[2][:2000]}"
            for path in self.folder.glob("*.log")
            if "Traceback" in path.read_text(errors="replace")
        ]

    # --- Devices ---

    def devices(self, count: int, each: int = 250, seconds: float = 600) -> None:
        """So many light devices, `each` of them to a process; ends when all of them are there."""
        self.api.post("/groups", {"name": GROUP})
        order = {"name": "light", "auto_accept": True, "group": GROUP, "max_uses": count}
        self.token = self.api.post("/enrollment-tokens", order)["token"]
        self.shares = {f"light-{first}": (first, min(each, count - first)) for first in range(0, count, each)}
        for name in self.shares:
            self.start_devices(name)
        self.wait_for(f"{count} devices", lambda: self.online() == count, seconds)

    def start_devices(self, name: str) -> None:
        first, count = self.shares[name]
        command = (
            *(sys.executable, "-m", "agent.simulate", "--server", self.stack.mqtt_url, "--token", self.token),
            *("--first", str(first), "--count", str(count), "--data", str(self.disks)),
        )
        self.run(Process(name, command))

    def online(self) -> int:
        return int(self.api.get("/devices", search="online", limit=1)["count"])

    def release(self, size: int) -> int:
        return int(self.shell(RELEASE.format(size=size)))

    def roll_out(self, release: int, **more: Any) -> int:
        return int(self.api.post("/rollouts", {"release": release, "group": GROUP, **more})["id"])

    def counts(self, rollout: int) -> Counter[str]:
        return Counter(self.api.get(f"/rollouts/{rollout}")["counts"])

    def wait_for(self, what: str, condition: Callable[[], Any], seconds: float) -> Any:
        """As fleet.demo.client.wait_for, and with the ends of the logs when it did not happen."""
        try:
            return wait_for(what, condition, seconds, every=0.5)
        except TimeoutError as problem:
            tails = "\n".join(f"--- {name}\n{self.log_of(name)[-1500:]}" for name in self.processes)
            raise RuntimeError(f"{problem}\n{tails}") from None

    def cpu(self) -> dict[str, float]:
        """Seconds of the processor of each process, its children included."""
        return {name: _seconds(psutil.Process(each.pid)) for name, each in self.processes.items()}

    def memory(self) -> int:
        """Resident bytes of all light devices' processes."""
        return sum(
            psutil.Process(each.pid).memory_info().rss
            for name, each in self.processes.items()
            if name.startswith("light-")
        )


def _seconds(process: psutil.Process) -> float:
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        times = each.cpu_times()
        total += times.user + times.system
    return total


def main() -> None:
    """`python -m bench.rollouts.light COUNT`: one rollout, and what it cost whom; to find what is slow."""
    count = int(sys.argv[1])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")
    fleet = LightFleet(Path(tempfile.mkdtemp(prefix="edgefleet-bench-")), os.environ.get("MQTT_BROKER", "mosquitto"))
    try:
        fleet.start()
        began = time.monotonic()
        fleet.devices(count)
        print(
            f"{count} devices enrolled in {time.monotonic() - began:.1f} s, {fleet.memory() / count / 1e6:.2f} MB each"
        )
        release = fleet.release(1_000_000)
        before, began = fleet.cpu(), time.monotonic()
        rollout = fleet.roll_out(release)
        said: Counter[str] = Counter()
        while (now := fleet.counts(rollout))["active"] < count and time.monotonic() - began < 300:
            if now != said:
                print(f"{time.monotonic() - began:6.1f} s {dict(now)}", flush=True)
                said = now
            time.sleep(1)
        each = f"{fleet.memory() / count / 1e6:.2f} MB each"
        print(f"{time.monotonic() - began:.1f} s, {each}, load {os.getloadavg()[0]:.1f}")
        after = fleet.cpu()
        print({name: round(after[name] - before.get(name, 0), 1) for name in after})
        for complaint in fleet.complaints():
            print(complaint)
    finally:
        fleet.close()


if __name__ == "__main__":
    main()
