"""What a delivery costs: bytes that the server publishes, memory of an agent, speed and processor beside HTTP Range.

Everything is real: `manage.py broker` (embedded, which keeps no blocks for devices that are cut off; mosquitto for the
speed), `manage.py gateway`, and the agent's own link, downloader and store. Bytes are those that the gateway says it
has published. The HTTP baseline is uvicorn with the least application that serves ranges of the same files; its clients
write and check the same way.
"""

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

from bench.rows import Row

MIB = 1024**2
#: Devices of the two counted runs and of the timed one, processes that hold them, and the artifacts' bytes.
DEVICES, TIMED, PROCESSES = 50, 20, 2
COUNTED_BYTES, TIMED_BYTES, LARGE_BYTES = 20 * MIB, 200 * MIB, 200 * MIB
PART = MIB
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


def run() -> list[Row]:
    folder = Path(tempfile.mkdtemp(prefix="edgefleet-bench-"))
    os.environ |= {
        "EDGEFLEET_DATA": str(folder / "server"),
        "DJANGO_SETTINGS_MODULE": "fleet.settings",
        "EDGEFLEET_LOG": "INFO",
    }
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from fleet.accounts.first_start import ensure

    ensure()
    try:
        with contextlib.closing(Bench(folder, "embedded", 2 * DEVICES + 1)) as bench:
            rows = [*bench.counted(), bench.head_only(), bench.memory()]
        with contextlib.closing(Bench(folder, "mosquitto", TIMED)) as bench:
            return rows + list(bench.timed())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Bench:
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
        _wait(self._listens, "the broker")
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
        """A gateway; afterwards, what it says it sent, and the processor's seconds of it and of the broker."""
        log = self.folder / "gateway.log"
        log.unlink(missing_ok=True)
        found: dict[str, float] = {}
        running = self._start("gateway")
        try:
            _wait(lambda: log.read_text().count("is connected") == 3, "the gateway")
            keeper = psutil.Process(self.broker.pid)
            brokers = [each for each in (keeper, *keeper.children()) if each is keeper or each.name() == "mosquitto"]
            before, own = sum(map(_cpu, brokers)), _cpu(psutil.Process(running.pid))
            yield found
            found |= {
                "broker": sum(map(_cpu, brokers)) - before,
                "server": _cpu(psutil.Process(running.pid)) - own,
            }
        finally:
            running.terminate()
            running.wait(20)
        found["bytes"] = sum(int(size) for size in re.findall(r"blocks, (\d+) bytes were sent", log.read_text()))

    # --- Rows ---

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
                    [sys.executable, "-m", "bench.downloaders", str(request)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=(self.folder / "downloaders.log").open("ab"),
                    text=True,
                )
            )
        for each in running:
            if each.stdout is None or each.stdout.readline() != "ready\n":
                raise RuntimeError((self.folder / "downloaders.log").read_text()[-2000:])
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

    # --- Figures ---

    def counted(self) -> Iterator[Row]:
        """Bytes for fifty devices: all well, and with a tenth of them cut or stalled."""
        variant = self.variant(_random(COUNTED_BYTES), "counted")
        size = variant.bytes
        ids = self.devices(DEVICES)
        with self.gateway() as sent:
            results = self.fetch(variant, ids)
        _all_done(results)
        yield Row(
            "published for 50 devices, broadcast, of the artifact",
            sent["bytes"] / size,
            "times",
            1.05,
            "lower",
            baseline=float(DEVICES),
            ratio=sent["bytes"] / size / DEVICES,
            n=DEVICES,
        )
        ids = self.devices(DEVICES)
        faults = {each: "cut" if number % 2 else "stall" for number, each in enumerate(ids[: DEVICES // 10])}
        with self.gateway() as sent:
            results = self.fetch(variant, ids, faults)
        _all_done(results)
        lacked = {block for each in results.values() for block in each.get("lacked", [])}
        needed = size + min(size, len(lacked) * 128 * 1024)
        _say(
            f"{len(faults)} devices were cut or stalled; {len(lacked)} blocks were lacking afterwards, "
            f"{sent['bytes'] / size:.2f} of the artifact was published"
        )
        yield Row(
            "the same, a tenth cut or stalled, of artifact and what they lacked",
            sent["bytes"] / needed,
            "times",
            1.05,
            "lower",
            baseline=sent["bytes"] / size,
            ratio=sent["bytes"] / needed,
            n=DEVICES,
        )

    def head_only(self) -> Row:
        """Version 2 of the tabletop policy as the optimizer packages it, with another action head, to one device."""
        from bench.head import versions

        before, after = versions(self.folder / "head")
        ids = self.devices(1)
        with self.gateway() as first:
            self.fetch(self.variant([], "tabletop", 1, before), ids, keep=True)
        with self.gateway() as sent:
            self.fetch(self.variant([], "tabletop", 2, after), ids, keep=True)
        _say(f"version 1 took {first['bytes']:,.0f} bytes of {before.size:,}, version 2 {sent['bytes']:,.0f}")
        return Row(
            "version 2, only the action head retrained, of the full artifact",
            100 * sent["bytes"] / after.size,
            "%",
            3.0,
            "lower",
            baseline=100 * first["bytes"] / before.size,
            ratio=sent["bytes"] / first["bytes"],
        )

    def memory(self) -> Row:
        """A whole agent, enrolled like any other, while it downloads."""
        from fleet.devices.models import Device
        from fleet.devices.services import create_token
        from fleet.rollouts import services

        variant = self.variant(_random(LARGE_BYTES), "large")
        _, token = create_token("bench", self.person, auto_accept=True)
        env = {
            **os.environ,
            "EDGE_AGENT_DATA": str(self.folder / "agent"),
            "EDGE_AGENT_SERVER": f"mqtt://127.0.0.1:{self.port}",
            "EDGE_AGENT_TOKEN": token,
            "EDGE_AGENT_NAME": "large",
            "EDGE_AGENT_DECLARED_CORES": "4",
            "EDGE_AGENT_DECLARED_MEMORY_GIB": "4",
            "EDGE_AGENT_DECLARED_STORAGE_GIB": "32",
        }
        with self.gateway(), (self.folder / "agent.log").open("ab") as log:
            running = subprocess.Popen([sys.executable, "-m", "agent", "run"], env=env, stdout=log, stderr=log)
            try:
                _wait(lambda: Device.objects.filter(name="large", online=True).exists(), "the agent", 60)
                time.sleep(3)
                process = psutil.Process(running.pid)
                idle = peak = process.memory_info().rss
                rollout = services.start(variant.release, self.person, devices=Device.objects.filter(name="large"))
                states = set()
                while not states & {"verified", "installing", "self_testing", "failed", "rejected"}:
                    peak = max(peak, process.memory_info().rss)
                    states.add(rollout.deployments.get().state)
                    time.sleep(0.02)
                if "rejected" in states or "downloading" not in states:
                    raise RuntimeError(f"the agent did not download it: {rollout.deployments.get().reason}")
            finally:
                running.terminate()
                running.wait(10)
        _say(f"the agent took {idle / MIB:.1f} MiB idle, {peak / MIB:.1f} MiB at most while it downloaded")
        return Row(
            "200 MB artifact: growth of the agent's memory",
            (peak - idle) / MIB,
            "MiB",
            20.0,
            "lower",
            baseline=idle / MIB,
            ratio=peak / idle,
        )

    def timed(self) -> Iterator[Row]:
        variant = self.variant(_random(TIMED_BYTES), "timed")
        with self.gateway() as used:
            cast = self.fetch(variant, self.devices(TIMED))
        _all_done(cast)
        with self._http() as web:
            own = _cpu(web)
            ranged = self.fetch(variant, [f"h-{n}" for n in range(TIMED)], urls=self._urls(variant))
            http_cpu = _cpu(web) - own
        speeds = [_speed(results) for results in (cast, ranged)]
        _say(
            f"broadcast {speeds[0]:.0f} MB/s delivered, {used['server']:.2f} s of the gateway, "
            f"{used['broker']:.2f} s of the broker; HTTP Range {speeds[1]:.0f} MB/s, {http_cpu:.2f} s of uvicorn"
        )
        name = f"to {TIMED} devices over {self.kind}"
        yield Row(
            f"{name}: bytes delivered, against HTTP Range",
            speeds[0] / speeds[1],
            "times",
            0.5,
            "higher",
            baseline=speeds[1],
            ratio=speeds[0] / speeds[1],
            n=TIMED,
        )
        yield Row(
            f"{name}: the server's own CPU, against HTTP Range",
            used["server"] / http_cpu,
            "times",
            0.25,
            "lower",
            baseline=http_cpu,
            ratio=used["server"] / http_cpu,
            n=TIMED,
        )
        yield Row(
            f"{name}: the broker's CPU beside it",
            used["broker"],
            "s",
            http_cpu,
            "lower",
            baseline=http_cpu,
            ratio=used["broker"] / http_cpu,
            n=TIMED,
        )

    @contextlib.contextmanager
    def _http(self) -> Iterator[psutil.Process]:
        from django.conf import settings

        from fleet.demo.stack import free_port

        (self.folder / "bench_http.py").write_text(HTTP)
        self._web = free_port(22_000)
        words = ["-m", "uvicorn", "bench_http:application", "--port", str(self._web), "--no-access-log"]
        env = {**os.environ, "FOLDER": str(settings.ARTIFACTS_DIR), "PYTHONPATH": str(self.folder)}
        with (self.folder / "http.log").open("ab") as log:
            running = subprocess.Popen([sys.executable, *words], env=env, stdout=log, stderr=log)  # noqa: S603
        try:
            _wait(lambda: "running on" in (self.folder / "http.log").read_text(), "uvicorn")
            yield psutil.Process(running.pid)
        finally:
            running.terminate()
            running.wait(10)

    def _urls(self, variant: Any) -> dict[str, str]:
        return {p["digest"]: f"http://127.0.0.1:{self._web}/{p['digest']}" for p in variant.manifest["parts"]}


def _random(size: int) -> list[bytes]:
    """Parts that nothing makes smaller; the last two are card and golden observations."""
    return [os.urandom(PART) for _ in range(size // PART)] + [os.urandom(1000), os.urandom(10_000)]


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _speed(results: dict[str, dict[str, Any]]) -> float:
    """MB/s that came to all devices together, from the first block of any to the last of all."""
    seconds = max(each["last"] for each in results.values()) - min(each["first"] for each in results.values())
    return sum(each["bytes"] for each in results.values()) / seconds / 1e6


def _all_done(results: dict[str, dict[str, Any]]) -> None:
    if not all(each["done"] for each in results.values()):
        raise RuntimeError("not every device got everything")


def _wait(condition: Any, words: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {seconds:.0f} s for {words}")
        time.sleep(0.05)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
