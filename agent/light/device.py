"""The wiring of one light device."""

import logging
import secrets
import time
from pathlib import Path
from typing import Any

from agent import __version__
from agent.config import Settings
from agent.deployment import verification
from agent.deployment.delivery import Delivery
from agent.deployment.download import Downloader
from agent.deployment.machine import UpdateMachine
from agent.deployment.provenance import Provenance
from agent.deployment.records import Saved
from agent.deployment.report import Reporter
from agent.deployment.store import Store
from agent.device import resource_manager
from agent.device.device_adapter import DeviceAdapter
from agent.light.stand_ins import LinkOnly, NoInference, NoTests, no_benchmark
from agent.light.turns import Rota, Work
from agent.link.commands import CommandDesk, Kind, Nothing, Progress
from agent.link.connection import Connection, Credentials
from agent.link.enrollment import Identity
from agent.link.history import History
from agent.link.journal import Journal
from agent.link.offline_queue import OfflineQueue
from agent.link.post import Post
from agent.link.presence import Facts, Presence
from agent.link.shared_loop import SharedLoop
from agent.link.telemetry import Telemetry
from agent.wire import topics
from agent.wire.hardware import DeviceClass, classify
from agent.wire.messages import LIGHT, Active, BenchmarkArgs, Runtime

log = logging.getLogger(__name__)


class LightDevice:
    """An enrolled device whose link and telemetry have their turns in threads that others share."""

    def __init__(
        self, settings: Settings, device: DeviceAdapter, identity: Identity, loop: SharedLoop, rota: Rota
    ) -> None:
        self._device = device
        self._detected = classify(device.hardware())
        self._started = time.monotonic()
        boot_id = "b-" + secrets.token_hex(8)
        store = Store(settings.data)
        facts = Facts(self._detected, device.hardware(), runtime=Runtime(name=LIGHT, provider="none"))
        self._presence = Presence(identity.device_id, boot_id, facts)
        self._connection = Connection(
            settings.server,
            Credentials(identity.device_id, identity.device_id, identity.secret),
            on_message=lambda topic, body: self._post.take(topic, body),
            on_connected=lambda: self._post.connected(),
            will=self._presence.will,
            subscriptions=(topics.device_filter(identity.device_id),),
            drive=loop.drive,
        )
        self._presence.connection = self._connection
        delivery = Delivery(identity.device_id, self._connection, settings.http, hold_seconds=0.0)
        self._machine = UpdateMachine(
            store=store,
            delivery=delivery,
            downloader=Downloader(store, delivery),
            provenance=Provenance(settings.data, delivery, _prove),
            running=NoInference(store),
            proving=NoTests(),
            reporter=Reporter(identity.device_id, boot_id, self._connection),
            budget=self._budget,
            device_class=lambda: self._detected,
            on_change=self._changed,
        )
        self._work = Work(self._machine)
        self._telemetry = Telemetry(
            device_id=identity.device_id,
            boot_id=boot_id,
            sampler=LinkOnly(self._connection, self._manifest),
            queue=History(OfflineQueue(settings.data / "telemetry.db")),
            connection=self._connection,
            interval=self._machine.saved.config.telemetry_interval,
        )
        self._rota = rota
        self._commands = CommandDesk(
            device_id=identity.device_id,
            journal=Journal(settings.data / "commands.db"),
            connection=self._connection,
            kinds={
                "benchmark": Kind(BenchmarkArgs, no_benchmark, quick=True),
                "ping": Kind(Nothing, self._ping, quick=True),
            },
        )
        self._post = Post(self._presence, delivery, self._work, self._commands, self._telemetry)
        self._changed(self._machine.saved)

    def start(self) -> None:
        """As at power-on."""
        self._machine.power_on()
        self._commands.start()
        self._leave_rota = self._rota.add(self._telemetry)
        self._connection.start()
        self._work.wake()

    def stop(self, seconds: float = 1.0) -> None:
        self._work.stop(seconds)
        self._connection.stop(self._presence.farewell(), seconds)
        self._commands.stop(seconds)
        self._leave_rota()
        self._telemetry.close()

    @property
    def connected(self) -> bool:
        return self._connection.connected

    def _budget(self) -> resource_manager.Budget:
        memory = self._machine.saved.config.memory_budget
        return resource_manager.budget(self._device.hardware(), self._device.free_storage(), 1, memory)

    def _changed(self, saved: Saved) -> None:
        active = saved.active
        told = (
            Active(manifest=active.manifest, deployment_id=active.deployment_id, since=active.since) if active else None
        )
        self._presence.change(
            device_class=DeviceClass(saved.config.device_class or self._detected),
            active=told,
            config_version=saved.config_version,
        )
        self._telemetry.set_interval(saved.config.telemetry_interval)

    def _manifest(self) -> str:
        active = self._presence.facts.active
        return active.manifest if active else ""

    def _ping(self, _: Nothing, _progress: Progress) -> dict[str, Any]:
        return {
            "agent_version": __version__,
            "uptime": round(time.monotonic() - self._started, 3),
            "at": time.time(),
            "light": LIGHT,
        }


def _prove(root: Path, folder: Path, digest: str, now: float, told: float, _interrupted: object) -> dict[str, Any]:
    """In this process, where the framework is loaded once for all."""
    return verification.answer(root, folder, digest, now, told)
