"""Many light devices in one process: `python -m agent.simulate --server … --token … --count 250`.

Each has a folder, a name, an enrollment, a connection and an update machine of its own, as a real one has them. None
has a model that decides: the self-test and the watch are stand-ins (`agent.light`), and the devices say so. With a few
of these processes one machine tries what a server does with a thousand devices.
"""

import argparse
import logging
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from agent import config, logs
from agent.config import ConfigError, Declared, Settings
from agent.device.device_adapter import DeclaredDevice
from agent.files import private_folder
from agent.light.device import LightDevice
from agent.light.turns import Rota
from agent.link.enrollment import FILE, Enrollment, read_or_make
from agent.link.shared_loop import SharedLoop
from agent.lock import DataFolderLock
from agent.stopping import told_to_stop

log = logging.getLogger(__name__)

#: What devices of a class declare, in turn.
PROFILES: dict[str, tuple[Declared, ...]] = {
    "embedded": (
        Declared(4, 4, 32, "Raspberry Pi 4 Model B", "linux-aarch64"),
        Declared(4, 2, 32, "Raspberry Pi 4 Model B", "linux-aarch64"),
    ),
    "mobile": (
        Declared(6, 8, 128, "Jetson Orin Nano", "linux-aarch64", ("cuda",)),
        Declared(8, 16, 256, "Jetson Orin NX", "linux-aarch64", ("cuda",)),
    ),
    "edge_server": (
        Declared(16, 64, 1024, "Industrial PC", "linux-x86_64"),
        Declared(12, 32, 512, "Industrial PC", "linux-x86_64"),
    ),
}
MIX = "embedded=70,mobile=20,edge_server=10"
TAG = "kind=light"
#: Devices that enroll at a time: of one token's logins a broker may let each serve one connection.
ENROLLING = 6
#: Bytes of a thread's stack; an update has one while it goes on.
STACK = 512 * 1024


@dataclass(frozen=True, slots=True)
class Spec:
    """One device to be."""

    name: str
    declared: Declared


def specs(name: str, first: int, count: int, mix: Mapping[str, float]) -> list[Spec]:
    """Devices number `first` and those after it, their classes in the shares of the mix from the very beginning on."""
    whole = sum(mix.values())
    given = dict.fromkeys(mix, 0)
    found: list[Spec] = []
    for number in range(first + count):
        kind = max(mix, key=lambda each: mix[each] / whole * (number + 1) - given[each])
        profiles = PROFILES[kind]
        declared = profiles[given[kind] % len(profiles)]
        given[kind] += 1
        if number >= first:
            found.append(Spec(f"{name}-{number:04d}", declared))
    return found


def read_mix(text: str) -> dict[str, float]:
    """`embedded=70,mobile=30` as shares. Raises ConfigError."""
    mix: dict[str, float] = {}
    for word in text.split(","):
        kind, _, share = word.strip().partition("=")
        if kind not in PROFILES or not re.fullmatch(r"\d+(\.\d+)?", share):
            raise ConfigError(
                f"--class-mix: {word.strip()!r} is not CLASS=SHARE; the classes are {', '.join(PROFILES)}."
            )
        mix[kind] = float(share)
    if not sum(mix.values()):
        raise ConfigError("--class-mix: no class has a share.")
    return mix


class Simulation:
    """Enrolls and runs the devices of this process."""

    def __init__(self, settings: Settings, made: Sequence[Spec]) -> None:
        self._settings = settings
        self._specs = made
        self._loop = SharedLoop()
        self._rota = Rota()
        self._locks: list[DataFolderLock] = []
        self.devices: list[LightDevice] = []

    def run(self, stop: threading.Event) -> None:
        """Until told to stop. Devices that are not let in yet go on asking."""
        self._loop.start()
        self._rota.start()
        try:
            with ThreadPoolExecutor(ENROLLING, "enrolling") as pool:
                for each in pool.map(lambda spec: self._admit(spec, stop), self._specs):
                    if each is not None:
                        self.devices.append(each)
            log.info("%d of %d light devices run", len(self.devices), len(self._specs))
            stop.wait()
        finally:
            self._leave()

    def _leave(self) -> None:
        """Each says goodbye; the next boot goes on from what is on its disk."""
        self._rota.stop()
        with ThreadPoolExecutor(ENROLLING, "leaving") as pool:
            list(pool.map(lambda each: each.stop(), self.devices))
        self._loop.stop()
        for lock in self._locks:
            lock.release()

    def _admit(self, spec: Spec, stop: threading.Event) -> LightDevice | None:
        """Enroll it if need be, and let it run; None when that was not to be."""
        if stop.is_set():
            return None
        settings = replace(self._settings, name=spec.name, declared=spec.declared, data=self._settings.data / spec.name)
        self._locks.append(DataFolderLock(private_folder(settings.data)))
        device = DeclaredDevice(spec.declared, settings.data)
        identity = read_or_make(settings.data)
        logs.hide(identity.secret)
        if not identity.device_id:
            asking = Enrollment(settings, identity, device.hardware(), simulated=True, drive=self._loop.drive)
            enrolled = asking.run(stop)
            if enrolled is None:
                return None
            identity = enrolled
        made = LightDevice(settings, device, identity, self._loop, self._rota)
        made.start()
        return made


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    try:
        if not 0 < given.count <= 5000 or given.first < 0:
            raise ConfigError("--count is 1 to 5000, and --first is not negative.")
        found = config.gather(
            {"server": given.server, "token": given.token, "ca": given.ca, "tags": given.tags}, {}, None
        )
        tags = (TAG, *found.get("tags", ()))
        settings = config.build({**found, "data": str(given.data.expanduser().absolute()), "tags": tags})
        made = specs(given.name, given.first, given.count, read_mix(given.class_mix))
        if not settings.token and not all((settings.data / each.name / FILE).exists() for each in made):
            raise ConfigError("Some of these devices are not enrolled yet: give --token.")
        private_folder(settings.data)
        logs.hide(settings.token, settings.token.partition(".")[2])
        logs.set_up(settings.data / f"{given.name}-{given.first:04d}", given.log_level)
        threading.stack_size(STACK)
        Simulation(settings, made).run(told_to_stop())
    except (ConfigError, OSError, RuntimeError) as problem:
        print(f"agent.simulate: {problem}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m agent.simulate", description="Many light devices in one process.")
    parser.add_argument("--server", required=True, metavar="URL", help="mqtt://host:port or mqtts://host:port")
    parser.add_argument("--ca", metavar="FILE", help="PEM file of the authorities to trust")
    parser.add_argument("--token", metavar="TOKEN", help="for enough devices, and one that lets them in by itself")
    parser.add_argument("--count", type=int, default=250, help="devices of this process (default 250)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first (default 0)")
    parser.add_argument("--name", default="light", help="what their names begin with (default light)")
    parser.add_argument("--class-mix", default=MIX, metavar="MIX", help=f"shares of the classes (default {MIX})")
    parser.add_argument("--tags", metavar="TAGS", help=f"of all of them, beside {TAG}; separated by commas")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("~/.local/state/edge-agents"),
        metavar="DIR",
        help="their folders; one in memory spares the disk (default ~/.local/state/edge-agents)",
    )
    parser.add_argument("--log-level", default="WARNING", help="DEBUG, INFO, WARNING or ERROR (default WARNING)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
