"""The processes of a whole installation on one machine: what they are called, how they start, on which ports."""

import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings


@dataclass(frozen=True, slots=True)
class SimulatedDevice:
    """A device that declares its hardware. Its observations come from the demo's world, its latency from this host."""

    name: str
    board: str
    platform: str
    cores: int
    memory_gib: int
    storage_gib: int
    accelerators: str = ""


DEVICES = (
    SimulatedDevice("arm-berlin-1", "Raspberry Pi 4 Model B", "linux-aarch64", 4, 4, 32),
    SimulatedDevice("arm-berlin-2", "Raspberry Pi 4 Model B", "linux-aarch64", 4, 2, 32),
    SimulatedDevice("cart-lyon-1", "Jetson Orin Nano", "linux-aarch64", 6, 8, 128, "cuda"),
    SimulatedDevice("cart-lyon-2", "Jetson Orin NX", "linux-aarch64", 8, 16, 256, "cuda"),
    SimulatedDevice("cell-graz-1", "Industrial PC", "linux-x86_64", 16, 64, 1024),
    SimulatedDevice("cell-graz-2", "Industrial PC", "linux-x86_64", 12, 32, 512),
)


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the Procfile."""

    name: str
    command: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)

    @property
    def line(self) -> str:
        # `exec`: the signal that ends the process must not stop at a shell.
        return "exec " + shlex.join(self.command)


def free_port(wanted: int, host: str = "127.0.0.1") -> int:
    """`wanted`, or the next port above it that nobody listens on. Raises OSError when 200 in a row are taken."""
    for port in range(wanted, wanted + 200):
        with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError(f"ports {wanted} to {wanted + 199} are all taken")


@dataclass(frozen=True, slots=True)
class Stack:
    """One installation: its ports, and the environment that every process of the server shares."""

    web_port: int
    mqtt_port: int
    #: Set when the broker runs elsewhere already.
    external_url: str = ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    @property
    def mqtt_url(self) -> str:
        return self.external_url or f"mqtt://127.0.0.1:{self.mqtt_port}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "fleet.settings",
            "EDGEFLEET_DATA": str(settings.DATA_DIR),
            "EDGEFLEET_ADDRESS": self.address,
            "MQTT_BROKER": settings.MQTT_BROKER,
            "MQTT_URL": self.mqtt_url,
            "PYTHONUNBUFFERED": "1",
            # Several processes share few cores: one thread each, unless a piece of work asks for more.
            "OMP_NUM_THREADS": "1",
        }

    def server(self) -> Iterator[Process]:
        """Everything but the devices."""
        manage = (sys.executable, "manage.py")
        celery = (sys.executable, "-m", "celery", "--quiet", "-A", "fleet")
        worker = (*celery, "worker", "--loglevel", "WARNING", "--without-gossip", "--without-mingle")
        yield Process("broker", (*manage, "broker"))
        yield Process("gateway", (*manage, "gateway"))
        yield Process(
            "web",
            (
                *(sys.executable, "-m", "uvicorn", "fleet.asgi:application", "--host", "127.0.0.1"),
                *("--port", str(self.web_port), "--no-access-log", "--log-level", "warning"),
                # Hybrid devices keep their connection: one that is closed after five seconds would be made again.
                *("--timeout-graceful-shutdown", "1", "--timeout-keep-alive", "300", "--lifespan", "off"),
            ),
        )
        yield Process("worker", (*worker, "-Q", "default", "-P", "threads", "-c", "4", "-n", "default@%h"))
        yield Process("optimizer", (*worker, "-Q", "optimize", "-P", "solo", "-n", "optimizer@%h"))
        yield Process("beat", (*celery, "beat", "--loglevel", "WARNING"))

    def devices(self, token: str) -> Iterator[Process]:
        """The simulated devices: the real agent, with declared hardware and the demo's world to look at."""
        for number, device in enumerate(DEVICES):
            yield Process(
                device.name,
                (sys.executable, "-m", "agent", "run"),
                {
                    "EDGE_AGENT_DATA": str(devices_dir() / device.name),
                    "EDGE_AGENT_SERVER": self.mqtt_url,
                    "EDGE_AGENT_INFERENCE": self.address,
                    "EDGE_AGENT_TOKEN": token,
                    "EDGE_AGENT_NAME": device.name,
                    "EDGE_AGENT_SOURCE": "fleet.demo.source:tabletop",
                    "EDGE_AGENT_SEED": str(number),
                    "EDGE_AGENT_NICE": "10",
                    "EDGE_AGENT_THREADS": "1",
                    # Six devices that measure at once on one machine would measure each other.
                    "EDGE_AGENT_RUNTIME": "onnxruntime",
                    "EDGE_AGENT_LOG_LEVEL": "WARNING",
                    "EDGE_AGENT_LOG_FORMAT": "human",
                    "EDGE_AGENT_DECLARED_CORES": str(device.cores),
                    "EDGE_AGENT_DECLARED_MEMORY_GIB": str(device.memory_gib),
                    "EDGE_AGENT_DECLARED_STORAGE_GIB": str(device.storage_gib),
                    "EDGE_AGENT_DECLARED_BOARD": device.board,
                    "EDGE_AGENT_DECLARED_PLATFORM": device.platform,
                    "EDGE_AGENT_DECLARED_ACCELERATORS": device.accelerators,
                },
            )


def devices_dir() -> Path:
    return settings.DATA_DIR / "devices"


def enrolled() -> bool:
    """Whether the simulated devices of this data folder were started before."""
    return all((devices_dir() / device.name).is_dir() for device in DEVICES)
