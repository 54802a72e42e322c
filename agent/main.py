"""The wiring of the agent's parts."""

import logging
import os
import secrets
import threading
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from agent import __version__, footprint, logs
from agent.clock import SYSTEM, Clock
from agent.config import ConfigError, Settings
from agent.deployment.benchmarks import BenchmarkCommand
from agent.deployment.choices import Choices
from agent.deployment.delivery import Delivery
from agent.deployment.download import Downloader
from agent.deployment.machine import UpdateMachine
from agent.deployment.provenance import Provenance
from agent.deployment.proving import Proving
from agent.deployment.records import Saved
from agent.deployment.report import Reporter
from agent.deployment.running import Running
from agent.deployment.store import Store
from agent.device import device_adapter, resource_manager
from agent.device.governor import Governor, Hands, Mode
from agent.files import private_folder
from agent.inference.control_loop import ControlLoop
from agent.inference.data_cache import DataCache
from agent.inference.gate import Gate
from agent.inference.hybrid import Hybrid, server
from agent.inference.inference_engine import InferenceEngine
from agent.inference.meter import Meter
from agent.link.commands import CommandDesk, Kind, Nothing, Progress
from agent.link.connection import Connection, Credentials
from agent.link.enrollment import Enrollment, Identity, read_or_make
from agent.link.history import History
from agent.link.journal import Journal
from agent.link.offline_queue import OfflineQueue
from agent.link.post import Post
from agent.link.presence import Facts, Presence
from agent.link.telemetry import Telemetry, TelemetryThread
from agent.lock import DataFolderLock
from agent.monitor import Monitor
from agent.stopping import told_to_stop
from agent.systemd import Notifier, Watchdog
from agent.wire import topics
from agent.wire.hardware import DeviceClass, Hardware, classify
from agent.wire.messages import (
    Active,
    BenchmarkArgs,
    Budgets,
    Config,
    Restraint,
    Runtime,
)

if TYPE_CHECKING:
    from agent.inference.local_api import LocalApi

log = logging.getLogger(__name__)


class Agent:
    """The parts of one enrolled device, put together.

    clock is what it goes by: intervals, rates, deadlines of orders, and the times that it reports. The link and the
    steps of an update go by the machine's.
    """

    def __init__(
        self,
        settings: Settings,
        device: device_adapter.DeviceAdapter,
        identity: Identity,
        notifier: Notifier | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._clock = clock
        self._notifier = notifier or Notifier({})
        self._device_id = identity.device_id
        self._device = device
        self._config = Config()
        self._detected = classify(device.hardware())
        self._started = clock.monotonic()
        self._stopping = threading.Event()
        boot_id = "b-" + secrets.token_hex(8)
        store = Store(settings.data)
        self._presence = Presence(identity.device_id, boot_id, Facts(self._detected, device.hardware()), clock.time)
        self._connection = Connection(
            settings.server,
            Credentials(identity.device_id, identity.device_id, identity.secret),
            on_message=lambda topic, body: self._post.take(topic, body),
            on_connected=lambda: self._post.connected(),
            will=self._presence.will,
            subscriptions=(topics.device_filter(identity.device_id),),
        )
        self._presence.connection = self._connection
        self._delivery = Delivery(identity.device_id, self._connection, settings.http)
        downloader = Downloader(store, self._delivery)
        provenance = Provenance(settings.data, self._delivery)

        def budget() -> resource_manager.Budget:
            threads = 1 if self._config.mode == "slim" else settings.threads
            return resource_manager.budget(
                device.hardware(), device.free_storage(), threads, self._config.memory_budget
            )

        most = budget().threads
        self._choices = Choices(settings.data / "runtimes.json", device.hardware(), most, settings.runtime)
        self._cache = int(settings.cache_mib * 2**20), settings.cache_seconds
        self._engine = engine = InferenceEngine()
        meter = Meter()
        engine.attach(meter)
        self._machine = UpdateMachine(
            store=store,
            delivery=self._delivery,
            downloader=downloader,
            provenance=provenance,
            running=Running(store, engine, most, self._choices),
            proving=Proving(store, self._choices, budget),
            reporter=Reporter(identity.device_id, boot_id, self._connection, clock.time),
            budget=budget,
            device_class=lambda: self._detected,
            on_change=self._changed,
            on_swap=self._swapped,
            clock=clock.time,
        )
        saved = self._machine.saved
        self._history = History(OfflineQueue(settings.data / "telemetry.db"))
        monitor = Monitor(
            device=device,
            meter=meter,
            connection=self._connection,
            manifest=self._manifest,
            kind=lambda: self._presence.facts.device_class,
            config=lambda: self._config,
            clock=clock.time,
            steady_clock=clock.monotonic,
        )
        self._telemetry = Telemetry(
            device_id=identity.device_id,
            boot_id=boot_id,
            sampler=monitor,
            queue=self._history,
            connection=self._connection,
            interval=saved.config.telemetry_interval,
            clock=clock.monotonic,
        )
        self._telemetry_thread = TelemetryThread(self._telemetry, clock.wait)
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
            clock=clock.time,
        )
        self._post = Post(self._presence, self._delivery, self._machine, self._commands, self._telemetry)
        self._hybrid = Hybrid(engine)
        self._server = server(settings.inference, identity.device_id, identity.secret, engine)
        self._busy: set[str] = set()
        self._busy_lock = threading.Lock()
        self._loop: ControlLoop | None = None
        if settings.source:
            acting = partial(self._idle, "control loop")
            self._loop = ControlLoop(
                self._hybrid,
                settings.source,
                settings.seed,
                meter,
                acting,
                clock=clock.monotonic,
                wait=clock.wait,
                instruction=settings.instruction,
                ahead=settings.ahead,
            )
        self._gate = Gate()
        self._api: LocalApi | None = None
        if settings.api:
            from agent.inference import local_api  # a device without it does not pay for it

            idle = partial(self._idle, "local API")
            self._api = local_api.LocalApi(
                engine,
                settings.api,
                settings.api_token,
                idle,
                hybrid=self._hybrid,
                gate=self._gate,
                restraints=lambda: self._presence.facts.restraints,
            )
        self._governor = Governor(
            device=device.twin(),
            hands=Hands(
                cache=self._use_cache,
                history=self._history.use,
                threads=self._machine.use_threads,
                pace=lambda share: self._loop.set_pace(share) if self._loop else None,
                answered=self._gate.set,
                can=self._can,
                again=self._machine.memory_of_active,
            ),
            threads=lambda: budget().threads,
            on_change=self._restrained,
            on_hardware=self._hardware_changed,
            clock=clock.time,
        )
        pulses = [self._machine.pulse, self._telemetry_thread.pulse, self._connection.pulse, self._commands.pulse]
        pulses += [self._governor.pulse, *([self._loop.pulse] if self._loop else [])]
        self._watchdog = Watchdog(self._notifier, pulses, self._status)
        self._changed(saved)
        self._governor.settle()

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop."""
        log.info("device %s (%s) starts, agent %s", self._device_id, self._presence.facts.device_class, __version__)
        self._machine.start()
        self._commands.start()
        self._telemetry_thread.start()
        if self._loop:
            self._loop.start()
        if self._api:
            self._api.start()
        self._governor.start()
        self._connection.start()
        self._watchdog.start()
        self._notifier.tell("READY=1", f"STATUS={self._status()}")
        stop.wait()
        self._stop()

    def _stop(self) -> None:
        """Within three seconds, whatever is under way."""
        self._notifier.tell("STOPPING=1")
        self._watchdog.stop()
        self._stopping.set()
        self._governor.stop(seconds=0.3)
        if self._loop:
            self._loop.stop(seconds=0.6)
        if self._api:
            self._api.stop(seconds=0.3)
        self._hybrid.use(None)
        self._machine.stop(seconds=0.6)
        self._connection.stop(self._presence.farewell(), seconds=0.6)
        self._commands.stop(seconds=0.3)
        self._telemetry_thread.stop(seconds=0.6)
        log.info("stopped")

    # --- What changes on the device ---

    def _changed(self, saved: Saved) -> None:
        self._config = saved.config
        active = saved.active
        told = (
            Active(manifest=active.manifest, deployment_id=active.deployment_id, since=active.since) if active else None
        )
        self._hybrid.use(self._server if saved.config.mode == "hybrid" else None)
        slim = self._presence.facts.mode == "slim"  # until the governor has brought another one about
        self._presence.change(
            mode="slim" if slim else "hybrid" if self._hybrid.on else "full",
            device_class=DeviceClass(saved.config.device_class or self._detected),
            active=told,
            config_version=saved.config_version,
        )
        self._telemetry.set_interval(saved.config.telemetry_interval)
        self._engine.configure(saved.config)
        self._swapped()  # the budgets that it tells may be others now
        self._governor.configure(saved.config)

    def _swapped(self) -> None:
        """What runs the model, by its own word."""
        model, limits = self._engine.model, self._engine.budgets
        if model is None:
            self._presence.change(runtime=None)
            return
        choice = self._choices.get(model.artifact)
        told = Runtime(
            name=model.backend.runtime,
            provider=model.backend.provider,
            threads=model.threads,
            p50=choice.p50 if choice else 0,
            tried=sum(not row.reason for row in choice.measured) if choice else 0,
            budgets=Budgets(preprocess=limits.preprocess, compute=limits.compute, total=limits.total),
        )
        self._presence.change(runtime=told)

    def _restrained(self, restraints: tuple[Restraint, ...], mode: Mode) -> None:
        """What it does less of, and the mode that holds: without a server in its settings, hybrid mode is full mode."""
        self._presence.change(restraints=restraints, mode="hybrid" if mode == "full" and self._hybrid.on else mode)

    def _hardware_changed(self, hardware: Hardware) -> None:
        self._device.look_again()
        self._detected = classify(hardware)
        device_class = DeviceClass(self._config.device_class or self._detected)
        self._presence.change(hardware=hardware, device_class=device_class)

    def _use_cache(self, use: bool) -> None:
        """Without one the agent is lean altogether: it also lets go of what it needed to start."""
        self._engine.use_cache(DataCache(*self._cache) if use and self._cache[0] else None)
        self._machine.be_lean(not use)
        if not use:
            footprint.give_back()
            footprint.let_go()

    def _can(self) -> resource_manager.Can:
        """What the governor could still do without."""
        model = self._engine.model
        has_model = model is not None
        return resource_manager.Can(
            cache=has_model and self._config.mode != "slim" and self._cache[0] > 0,
            threads=min(self._machine.threads, model.threads) if model else 1,
            rate=self._loop is not None and self._loop.acts,
            model=has_model,
            refuse=self._api is not None,
        )

    def _idle(self, who: str, idle: bool) -> None:
        """The device is idle when nobody on it says otherwise."""
        with self._busy_lock:
            if idle:
                self._busy.discard(who)
            else:
                self._busy.add(who)
            self._presence.change(idle=not self._busy)

    def _status(self) -> str:
        """One sentence for the service manager."""
        link = "connected" if self._connection.connected else "no link"
        return f"{self._device_id}, {link}, {'runs ' + self._manifest()[:12] if self._manifest() else 'no model'}"

    def _manifest(self) -> str:
        active = self._presence.facts.active
        return active.manifest if active else ""

    def _ping(self, _: Nothing, _progress: Progress) -> dict[str, Any]:
        return {
            "agent_version": __version__,
            "uptime": round(self._clock.monotonic() - self._started, 3),
            "at": self._clock.time(),
        }


def run(settings: Settings) -> None:
    """Enroll if need be, then work until SIGTERM or SIGINT. Raises ConfigError, DataFolderInUseError or OSError."""
    stop = told_to_stop()
    if settings.nice:
        os.nice(settings.nice)
    if settings.source and not _exists(settings.source):
        raise ConfigError(f"There is no module for the source {settings.source!r}. Install it, or correct the name.")
    lock = DataFolderLock(private_folder(settings.data))
    notifier = Notifier()
    device = device_adapter.adapter(settings.declared, settings.data)
    identity: Identity | None = read_or_make(settings.data)
    if identity:
        logs.hide(identity.secret)
    if identity and not identity.device_id:
        enrollment = Enrollment(settings, identity, device.hardware(), device.simulated)
        watchdog = Watchdog(notifier, [enrollment.pulse], lambda: "not enrolled yet: asks to be let in")
        watchdog.start()
        notifier.tell("READY=1")
        identity = enrollment.run(stop)
        watchdog.stop()
    if identity:
        Agent(settings, device, identity, notifier).run(stop)
    lock.release()


def _exists(source: str) -> bool:
    """Whether a module is there. A camera may be plugged in later."""
    module, _, place = source.partition(":")
    try:
        return place.startswith("/") or find_spec(module) is not None
    except ImportError:
        return False
