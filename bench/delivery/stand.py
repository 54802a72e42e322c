"""What a delivery is measured on: a broker with a gateway, devices that fetch, and a web server beside them."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

MIB = 1024**2
#: Processes that hold the devices.
PROCESSES = 2
SECRET = "s" * 43

HTTP = """
import os
FOLDER = os.environ["FOLDER"]
async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    asked = dict(scope["headers"])[b"range"].decode().removeprefix("bytes=").split("-")
    start, end = int(asked[0]), int(asked[1]) + 1
    digest = scope["path"].rsplit("/", 1)[1]
    headers = [(b"content-length", str(end - start).encode())]
    await send({"type": "http.response.start", "status": 206, "headers": headers})
    with open(f"{FOLDER}/{digest[:2]}/{digest}", "rb") as file:
        file.seek(start)
        while start < end:
            data = file.read(min(1 << 18, end - start))
            start += len(data)
            await send({"type": "http.response.body", "body": data, "more_body": start < end})
"""


class Stand:
    """One broker with its devices, whose rows are made beforehand."""

    def __init__(self, folder: Path, broker: str, devices: int) -> None:
        from django.contrib.auth.models import User

        from fleet.demo.stack import free_port

        self.folder, self.kind, self.port = folder, broker, free_port(21_883)
        # Each device has a disk of its own, this machine one for all of them: theirs are in its memory, if it has one.
        memory = "/dev/shm"  # noqa: S108  # a folder of our own is made in it
        self.disks = Path(tempfile.mkdtemp(prefix="edgefleet-bench-", dir=memory if Path(memory).exists() else None))
        self.person, _ = User.objects.get_or_create(username="bench")
        #: Made before the broker starts: it is told of new logins by their devices, and these have none to tell.
        self._unused = self._devices(devices)
        self.broker = self._start("broker")
        wait(self._listens, "the broker")
        self._runs = 0

    def close(self) -> None:
        self.broker.terminate()
        self.broker.wait(10)
        shutil.rmtree(self.disks, ignore_errors=True)

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603  # ourselves
                [sys.executable, "manage.py", name],
                env={**os.environ, "MQTT_BROKER": self.kind, "MQTT_URL": f"mqtt://127.0.0.1:{self.port}"},
                stdout=log,
                stderr=log,
            )

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.5):
            return True
        return False

    @contextlib.contextmanager
    def gateway(self) -> Iterator[dict[str, float]]:
        """A gateway; afterwards, what it says it sent, and the processor's seconds of it and of the broker for it."""
        log = self.folder / "gateway.log"
        log.unlink(missing_ok=True)
        found: dict[str, float] = {}
        running = self._start("gateway")
        try:
            wait(lambda: log.read_text().count("is connected") == 3, "the gateway")
            keeper = psutil.Process(self.broker.pid)
            brokers = [each for each in (keeper, *keeper.children()) if each is keeper or each.name() == "mosquitto"]
            with self._metered(found, server=[psutil.Process(running.pid)], broker=brokers):
                yield found
        finally:
            running.terminate()
            running.wait(20)
        found["bytes"] = sum(int(size) for size in re.findall(r"blocks, (\d+) bytes were sent", log.read_text()))

    @contextlib.contextmanager
    def _metered(self, found: dict[str, float], **processes: list[psutil.Process]) -> Iterator[None]:
        """Seconds of the processor by name, since the devices began to fetch."""

        def spent() -> dict[str, float]:
            return {name: sum(map(cpu, each)) for name, each in processes.items()}

        before = spent()
        self._begin = lambda: before.update(spent())
        yield
        found |= {name: seconds - before[name] for name, seconds in spent().items()}

    # --- What is delivered, and to whom ---

    def variant(self, parts: list[bytes], name: str, number: int = 1, manifest: Any = None) -> Any:
        """A released variant for embedded devices whose parts lie in the store; what it would do nobody tries."""
        import msgspec

        from agent.wire import manifest as wire
        from fleet.catalog import store
        from fleet.catalog.models import Model, ModelVersion, Release, Trial, Variant

        model, _ = Model.objects.get_or_create(name=name)
        version = ModelVersion.objects.create(
            model=model, number=number, format="onnx", file_name="m.onnx", digest="ab" * 32, size=1
        )
        trial = Trial.objects.create(
            version=version, device_class="embedded", key=f"{name}{number}", name="v", verdict="won"
        )
        if manifest is None:
            roles = ["model"] * (len(parts) - 2) + ["card", "golden"]
            made = [wire.Part(store.put_bytes(data), len(data), role) for data, role in zip(parts, roles, strict=True)]
            manifest = wire.Manifest(
                model=name,
                version=str(number),
                variant="v",
                device_class="embedded",
                digest=wire.digest_of(b"".join(parts)),
                size=sum(map(len, parts)),
                parts=tuple(made),
            )
        data = wire.encode(manifest)
        made_variant = Variant.objects.create(
            version=version,
            device_class="embedded",
            trial=trial,
            manifest_digest=wire.digest_of(data),
            manifest=msgspec.json.decode(data),
            bytes=manifest.size,
        )
        release = Release.objects.create(version=version, number=1)
        release.variants.set([made_variant])
        made_variant.release = release
        return made_variant

    def devices(self, count: int) -> list[str]:
        """Some that were not used yet."""
        self._runs += 1
        taken, self._unused = self._unused[:count], self._unused[count:]
        return taken

    def _devices(self, count: int) -> list[str]:
        from agent.wire.hardware import GIB
        from fleet.devices import credentials
        from fleet.devices.models import Device

        salt = credentials.new_salt()
        hashed = credentials.digest(SECRET, salt)
        ids = [f"{self.kind}-{number:03d}" for number in range(count)]
        for each in ids:
            Device.objects.create(
                id=each,
                name=each,
                nonce=each,
                admission="accepted",
                salt=salt,
                digest=hashed,
                device_class="embedded",
                hardware={"cores": 4, "memory_bytes": 4 * GIB, "storage_bytes": 32 * GIB},
            )
        return ids

    def fetch(
        self,
        variant: Any,
        ids: list[str],
        faults: dict[str, str] | None = None,
        urls: dict[str, str] | None = None,
        keep: bool = False,
    ) -> dict[str, dict[str, Any]]:
        """Let the devices fetch the variant, all at once; what each says. keep: they install it and keep it."""
        from fleet.catalog.services import manifest_bytes
        from fleet.devices.models import Device
        from fleet.rollouts import services

        if not urls:
            services.start(variant.release, self.person, devices=Device.objects.filter(pk__in=ids))
        manifest = self.folder / "manifest.json"
        manifest.write_bytes(manifest_bytes(variant))
        own = self.disks / f"run-{self._runs}-{'http' if urls else 'mqtt'}"
        running = []
        for process in range(PROCESSES):
            mine = [
                {"id": each, "secret": SECRET, "fault": (faults or {}).get(each, "")}
                for each in ids[process::PROCESSES]
            ]
            request = self.folder / f"request-{process}.json"
            request.write_text(
                json.dumps(
                    {
                        "port": self.port,
                        "folder": str(own),
                        "manifest": str(manifest),
                        "devices": mine,
                        "urls": urls or {},
                        "keep": keep,
                    }
                )
            )
            running.append(
                subprocess.Popen(  # noqa: S603  # ourselves
                    [sys.executable, "-m", "bench.delivery.downloaders", str(request)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=(self.folder / "downloaders.log").open("ab"),
                    text=True,
                )
            )
        for each in running:
            if each.stdout is None or each.stdout.readline() != "ready\n":
                raise RuntimeError((self.folder / "downloaders.log").read_text()[-2000:])
        self._begin()
        for each in running:
            each.stdin.write("go\n")  # type: ignore[union-attr]
            each.stdin.flush()  # type: ignore[union-attr]
        results: dict[str, dict[str, Any]] = {}
        for each in running:
            said, _ = each.communicate(timeout=300)
            results |= json.loads(said)
        if not keep:
            shutil.rmtree(own, ignore_errors=True)
        return results

    @contextlib.contextmanager
    def http(self) -> Iterator[dict[str, float]]:
        """A web server for the same files; afterwards, the processor's seconds of it."""
        from django.conf import settings

        from fleet.demo.stack import free_port

        (self.folder / "bench_http.py").write_text(HTTP)
        self._web = free_port(22_000)
        words = ["-m", "uvicorn", "bench_http:application", "--port", str(self._web), "--no-access-log"]
        env = {**os.environ, "FOLDER": str(settings.ARTIFACTS_DIR), "PYTHONPATH": str(self.folder)}
        with (self.folder / "http.log").open("ab") as log:
            running = subprocess.Popen([sys.executable, *words], env=env, stdout=log, stderr=log)  # noqa: S603
        try:
            wait(lambda: "running on" in (self.folder / "http.log").read_text(), "uvicorn")
            found: dict[str, float] = {}
            with self._metered(found, server=[psutil.Process(running.pid)]):
                yield found
        finally:
            running.terminate()
            running.wait(10)

    def urls(self, variant: Any) -> dict[str, str]:
        return {p["digest"]: f"http://127.0.0.1:{self._web}/{p['digest']}" for p in variant.manifest["parts"]}


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def wait(condition: Any, words: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {seconds:.0f} s for {words}")
        time.sleep(0.05)
