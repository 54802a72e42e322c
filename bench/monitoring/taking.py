"""What takes samples, started and sent to: mosquitto, and the gateway or the baseline over it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.monitoring import fill

WARM = 5


class Mosquitto:
    """mosquitto with the house's configuration and two more logins, which may send for every device."""

    def __init__(self, folder: Path) -> None:
        from fleet.brokers.mosquitto.configuration import Place
        from fleet.demo.stack import free_port

        self.port = free_port(22_883)
        self._place = Place(folder / "mosquitto", "127.0.0.1", self.port)

    def __enter__(self) -> "Mosquitto":
        from django.conf import settings

        from fleet.brokers.identities import Credential
        from fleet.brokers.mosquitto import configuration, dynsec
        from fleet.devices.credentials import digest, new_salt

        self.secret, salt = settings.MQTT_SERVER_SECRET, new_salt()
        document = dynsec.state({}, self.secret)
        own = Credential("server", True, salt, digest(self.secret, salt))
        for login in ("server-bench", "server-lag"):  # a login is a connection: the same one twice throws itself out
            document["clients"].append(dynsec._client(login, own, ["server"]))
        self._place.folder.mkdir()
        configuration.write_state(self._place.state, document)
        program, plugin = configuration.program(), configuration.plugin()
        if program is None or plugin is None:
            raise RuntimeError("mosquitto or its plugin is missing: apt install mosquitto")
        self._place.conf.write_text(configuration.text(self._place, plugin))
        self._running = subprocess.Popen([str(program), "-c", str(self._place.conf)], stderr=subprocess.DEVNULL)  # noqa: S603
        self.pid = self._running.pid
        time.sleep(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.terminate()
        self._running.wait(10)


@contextmanager
def running(broker: Mosquitto, words: list[str]) -> Iterator[int]:
    """Start what takes samples; yields its process id once it has subscribed."""
    env = {**os.environ, "MQTT_BROKER": "external", "MQTT_URL": f"mqtt://127.0.0.1:{broker.port}"}
    log = Path(os.environ["EDGEFLEET_DATA"]) / "taking.log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, *words], env=env, stdout=output, stderr=output)  # noqa: S603
    try:
        while not any(word in log.read_text() for word in ("leading", "ready")):
            if process.poll() is not None:
                raise RuntimeError(log.read_text()[-2000:])
            time.sleep(0.1)
        time.sleep(2)
        yield process.pid
        if process.poll() is not None:
            raise RuntimeError(log.read_text()[-2000:])
    finally:
        process.terminate()
        process.wait(30)


def order(broker: Mosquitto, ids: list[str], boot: str) -> dict[str, Any]:
    """What the sender is told."""
    return {
        "port": broker.port,
        "secret": broker.secret,
        "devices": ids,
        "manifests": [fill.KNOWN if number % 2 else fill.UNKNOWN for number in range(len(ids))],
        "boot": boot,
        "warm": WARM,
    }


def taken(broker: Mosquitto, words: list[str], ids: list[str], boot: str, seconds: int) -> dict[str, Any]:
    """Send for so long to what takes samples, and count what is stored; processor time by process."""
    import psutil
    from django.db import connection

    from fleet.telemetry.models import Sample

    with running(broker, words) as pid:
        parts = {"gateway": psutil.Process(pid), "broker": psutil.Process(broker.pid)}
        before = {name: sum(process.cpu_times()[:2]) for name, process in parts.items()}
        served = _servers()
        whole, began = psutil.cpu_times(), time.monotonic()
        sender = subprocess.run(
            [sys.executable, "-m", "bench.monitoring.sender"],
            input=json.dumps(order(broker, ids, boot) | {"seconds": seconds}) + "\n",
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        took, after = time.monotonic() - began, psutil.cpu_times()
        spent = {name: sum(process.cpu_times()[:2]) - before[name] for name, process in parts.items()}
        spent["database"] = _servers() - served
        waited = _summed() if "gateway" in words else None
    said: dict[str, Any] = json.loads(sender.stdout)
    connection.close()
    stored = Sample.objects.filter(boot_id=boot).count()
    cores = {name: round(time_spent / took, 2) for name, time_spent in spent.items()}
    cores["sender"] = round(said.pop("cpu") / took, 2)
    busy = sum(getattr(after, each) - getattr(whole, each) for each in ("user", "system", "softirq", "irq"))
    cores["everything"] = round(busy / took, 2)
    return said | {"wrong": abs(stored - said["sent"]), "cores": cores, "summed_after": waited}


def _servers() -> float:
    """Processor seconds of all PostgreSQL processes here."""
    import psutil

    return sum(sum(each.cpu_times()[:2]) for each in psutil.process_iter(["name"]) if each.info["name"] == "postgres")


def _summed() -> float:
    """Seconds until the roll-ups have what is stored."""
    from fleet.telemetry.models import Sample, Summed

    began = time.monotonic()
    last = Sample.objects.order_by("-pk").values_list("pk", flat=True)[0]
    while Summed.objects.get().sample < last and time.monotonic() - began < 60:
        time.sleep(0.1)
    return round(time.monotonic() - began, 1)
