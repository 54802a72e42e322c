"""The command line, and the wiring of the agent's parts."""

import argparse
import json
import logging
import os
import secrets
import signal
import sys
import threading
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import __version__, config, status
from agent.config import ConfigError, Settings
from agent.deployment.benchmarks import BenchmarkCommand
from agent.deployment.delivery import Delivery
from agent.deployment.download import Downloader
from agent.deployment.machine import UpdateMachine
from agent.deployment.provenance import Provenance
from agent.deployment.records import Saved
from agent.deployment.report import Reporter
from agent.deployment.store import Store
from agent.device import device_adapter, resource_manager
from agent.files import private_folder
from agent.inference.control_loop import ControlLoop
from agent.inference.data_cache import DataCache
from agent.inference.inference_engine import InferenceEngine
from agent.inference.meter import Meter
from agent.link.commands import CommandDesk, Kind, Nothing, Progress
from agent.link.connection import Connection, Credentials
from agent.link.enrollment import Enrollment, Identity, read_or_make
from agent.link.journal import Journal
from agent.link.offline_queue import OfflineQueue
from agent.link.presence import Facts, Presence
from agent.link.telemetry import TelemetryThread
from agent.lock import DataFolderInUseError, DataFolderLock
from agent.monitor import Monitor
from agent.wire import codec, topics
from agent.wire.hardware import DeviceClass, classify
from agent.wire.messages import Active, BenchmarkArgs, Desired, Links

if TYPE_CHECKING:
    from agent.inference.local_api import LocalApi

log = logging.getLogger(__name__)


class Agent:
    """The parts of one enrolled device, put together."""

    def __init__(self, settings: Settings, device: device_adapter.DeviceAdapter, identity: Identity) -> None:
        self._device_id = identity.device_id
        self._hardware = device.hardware()
        self._detected = classify(self._hardware)
        self._started = time.monotonic()
        self._stopping = threading.Event()
        boot_id = "b-" + secrets.token_hex(8)
        store = Store(settings.data)
        self._presence = Presence(identity.device_id, boot_id, Facts(self._detected, self._hardware))
        self._connection = Connection(
            settings.server,
            Credentials(identity.device_id, identity.device_id, identity.secret),
            on_message=self._route,
            on_connected=self._connected,
            will=self._presence.will,
            subscriptions=(topics.device_filter(identity.device_id),),
        )
        self._presence.connection = self._connection
        self._delivery = Delivery(identity.device_id, self._connection, settings.http)
        downloader = Downloader(store, self._delivery)
        provenance = Provenance(settings.data, self._delivery)

        def budget() -> resource_manager.Budget:
            return resource_manager.budget(self._hardware, device.free_storage(), settings.threads)

        engine = InferenceEngine(DataCache())
        meter = Meter()
        engine.attach(meter)
        self._machine = UpdateMachine(
            store=store,
            delivery=self._delivery,
            downloader=downloader,
            provenance=provenance,
            engine=engine,
            reporter=Reporter(identity.device_id, boot_id, self._connection),
            budget=budget,
            device_class=self._detected,
            on_change=self._changed,
        )
        saved = self._machine.saved
        monitor = Monitor(device=device, meter=meter, connection=self._connection, manifest=self._manifest)
        self._telemetry = TelemetryThread(
            device_id=identity.device_id,
            boot_id=boot_id,
            sampler=monitor,
            queue=OfflineQueue(settings.data / "telemetry.db"),
            connection=self._connection,
            interval=saved.config.telemetry_interval,
        )
        benchmarks = BenchmarkCommand(
            store=store,
            delivery=self._delivery,
            downloader=downloader,
            provenance=provenance,
            budget=budget,
            stopping=self._stopping.is_set,
        )
        self._commands = CommandDesk(
            device_id=identity.device_id,
            journal=Journal(settings.data / "commands.db"),
            connection=self._connection,
            kinds={"benchmark": Kind(BenchmarkArgs, benchmarks.run), "ping": Kind(Nothing, self._ping, quick=True)},
        )
        self._busy: set[str] = set()
        self._busy_lock = threading.Lock()
        self._loop: ControlLoop | None = None
        if settings.source:
            acting = partial(self._idle, "control loop")
            self._loop = ControlLoop(engine, settings.source, settings.seed, meter, acting)
        self._api: LocalApi | None = None
        if settings.api:
            from agent.inference import local_api  # a device without it does not pay for it

            self._api = local_api.LocalApi(engine, settings.api, settings.api_token, partial(self._idle, "local API"))
        self._changed(saved)

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop."""
        log.info("device %s (%s) starts, agent %s", self._device_id, self._presence.facts.device_class, __version__)
        self._machine.start()
        self._commands.start()
        self._telemetry.start()
        if self._loop:
            self._loop.start()
        if self._api:
            self._api.start()
        self._connection.start()
        stop.wait()
        self._stop()

    def _stop(self) -> None:
        """Within three seconds, whatever is under way."""
        self._stopping.set()
        if self._loop:
            self._loop.stop(seconds=0.6)
        if self._api:
            self._api.stop(seconds=0.3)
        self._machine.stop(seconds=0.6)
        self._connection.stop(self._presence.farewell(), seconds=0.6)
        self._commands.stop(seconds=0.3)
        self._telemetry.stop(seconds=0.6)
        log.info("stopped")

    # --- What the link brings ---

    def _connected(self) -> None:
        self._presence.announce()
        self._delivery.connected()
        self._machine.reconnected()
        self._commands.resend()

    def _route(self, text: str, body: bytes) -> None:
        try:
            topic = topics.parse(text)
            match topic.direction, topic.kind:
                case "down", "desired":
                    if body:  # empty: the server has cleared the retained message
                        self._machine.offer(codec.decode(body, Desired))
                case "down", "command":
                    self._commands.receive(topic.key, body)
                case "down", "links":
                    self._delivery.links(codec.decode(body, Links))
                case "down" | "cast", "block":
                    self._delivery.block(topic.key, topic.number or 0, body, cast=topic.direction == "cast")
                case "cast", "manifest" | "tuf":
                    self._delivery.retained(text, body)
        except (topics.TopicError, codec.WireError) as problem:
            log.warning("a message on %s was not taken: %s", text[:200], problem)

    # --- What changes on the device ---

    def _changed(self, saved: Saved) -> None:
        active = saved.active
        told = (
            Active(manifest=active.manifest, deployment_id=active.deployment_id, since=active.since) if active else None
        )
        self._presence.change(
            device_class=DeviceClass(saved.config.device_class or self._detected),
            active=told,
            config=saved.config,
            config_version=saved.config_version,
        )
        self._telemetry.set_interval(saved.config.telemetry_interval)

    def _idle(self, who: str, idle: bool) -> None:
        """The device is idle when nobody on it says otherwise."""
        with self._busy_lock:
            if idle:
                self._busy.discard(who)
            else:
                self._busy.add(who)
            self._presence.change(idle=not self._busy)

    def _manifest(self) -> str:
        active = self._presence.facts.active
        return active.manifest if active else ""

    def _ping(self, _: Nothing, _progress: Progress) -> dict[str, Any]:
        return {"agent_version": __version__, "uptime": round(time.monotonic() - self._started, 3), "at": time.time()}


def run(settings: Settings) -> None:
    """Enroll if need be, then work until SIGTERM or SIGINT. Raises ConfigError, DataFolderInUseError or OSError."""
    stop = _told_to_stop()
    if settings.nice:
        os.nice(settings.nice)
    if settings.source and not _exists(settings.source):
        raise ConfigError(f"There is no module for the source {settings.source!r}. Install it, or correct the name.")
    lock = DataFolderLock(private_folder(settings.data))
    device = device_adapter.adapter(settings.declared, settings.data)
    identity: Identity | None = read_or_make(settings.data)
    if identity and not identity.device_id:
        identity = Enrollment(settings, identity, device.hardware(), device.simulated).run(stop)
    if identity:
        Agent(settings, device, identity).run(stop)
    lock.release()


def _told_to_stop() -> threading.Event:
    """Set once SIGTERM or SIGINT came.

    A signal may reach any thread, and Python runs handlers in the main one only when that wakes up by itself; the
    wake-up pipe is written at once, whichever thread it was.
    """
    stop = threading.Event()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writing)

    def wait() -> None:
        os.read(reading, 1)
        stop.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
    return stop


def _exists(source: str) -> bool:
    try:
        return find_spec(source.partition(":")[0]) is not None
    except ImportError:
        return False


def main(arguments: list[str] | None = None) -> int:
    """The console script `edge-agent`. Returns the exit status."""
    given = vars(_parser().parse_args(arguments))
    file = Path(given["config"]).expanduser() if given["config"] else None
    try:
        found = config.gather(given, os.environ, file)
        if given["command"] == "status":
            told = status.read(config.data_folder(found))
            print(json.dumps(told, indent=2) if given["json"] else "\n".join(status.lines(told)))
            return 0
        settings = config.build(found)
        logging.basicConfig(
            stream=sys.stderr, level=settings.log_level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
        )
        run(settings)
    except (ConfigError, DataFolderInUseError, OSError) as problem:
        print(f"edge-agent: {problem}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-agent", description="Runs vision-language-action models on this device, under Edgefleet's control."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="enroll if need be, then work until told to stop")
    asking = commands.add_parser("status", help="what this device is and runs, from its data folder")
    asking.add_argument("--json", action="store_true", help="for programs")
    for each in (running, asking):
        each.add_argument("--config", metavar="FILE", help="TOML file with any of the settings")
    for option in config.OPTIONS:
        variable = f" [{option.variable}]"
        running.add_argument(option.flag, dest=option.key, metavar="X", help=option.help + variable)
    data = config.OPTIONS[0]
    asking.add_argument(data.flag, dest=data.key, metavar="X", help=f"{data.help} [{data.variable}]")
    return parser


if __name__ == "__main__":
    sys.exit(main())
