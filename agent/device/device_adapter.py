"""A device's facts and its present usage, behind one interface: a real board detects them, a simulated one declares.

A simulated device behaves as a container does: its limits are the declared ones and its usage is that of its own
process. Everything above this module is the same for both.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from agent.config import Declared
from agent.device import energy, hardware
from agent.device.cgroup import Cgroup
from agent.files import folder_bytes
from agent.wire.hardware import GIB, Hardware, classify


@dataclass(frozen=True, slots=True)
class Usage:
    """One look. Bytes, percent of all cores, °C, W; None where the device cannot know.

    agent_share is the agent's part (0 to 1) of the processor time that was used since the last look.
    """

    cpu_percent: float
    agent_share: float
    memory_used: int
    memory_total: int
    disk_used: int
    disk_total: int
    agent_memory: int
    power: float
    power_source: energy.Source
    temperature: float | None = None
    #: Bytes since the device started; None when only the agent's own traffic can be counted.
    network_rx: int | None = None
    network_tx: int | None = None


class DeviceAdapter(Protocol):
    """What the rest of the agent knows of its device."""

    @property
    def simulated(self) -> bool: ...

    def hardware(self) -> Hardware:
        """Facts after container limits, as they were looked at last."""
        ...

    def look_again(self) -> Hardware:
        """The facts as they are now: a camera may have been plugged in, a container given more."""
        ...

    def usage(self) -> Usage:
        """The usage since the last call. One thread calls this."""
        ...

    def twin(self) -> "DeviceAdapter":
        """The same device for another reader, whose usage is that since its own last look."""
        ...

    def free_storage(self) -> int:
        """Bytes that an update may still write."""
        ...


class _ProcessorTime:
    """Processor seconds of this process, per look."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._process = psutil.Process()
        self._last = (clock(), self._seconds())

    def _seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def look(self) -> tuple[float, float]:
        """(wall seconds, processor seconds of this process) since the last look."""
        now, used = self._clock(), self._seconds()
        (before, used_before), self._last = self._last, (now, used)
        return max(1e-6, now - before), max(0.0, used - used_before)

    def memory(self) -> int:
        return int(self._process.memory_info().rss)


class DetectedDevice:
    """The board or container that the agent runs on, read below `root`; `data` is the data folder."""

    simulated = False

    def __init__(self, data: Path, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> None:
        self._data = data
        self._root = root
        self._clock = clock
        self._cgroup = Cgroup(root)
        self.look_again()
        self._process = _ProcessorTime(clock)
        self._power = energy.PowerSensor(root, clock)
        self._group_seconds = self._cgroup.cpu_seconds()
        psutil.cpu_percent()  # the first call only starts the count

    def hardware(self) -> Hardware:
        return self._hardware

    def look_again(self) -> Hardware:
        self._limits = self._cgroup.limits()
        self._hardware = hardware.detect(self._root, shutil.disk_usage(self._data).total, self._limits)
        self._class = classify(self._hardware)
        return self._hardware

    def twin(self) -> "DetectedDevice":
        return DetectedDevice(self._data, self._root, self._clock)

    def free_storage(self) -> int:
        return shutil.disk_usage(self._data).free

    def usage(self) -> Usage:
        seconds, own = self._process.look()
        share = self._busy(seconds)
        busy_seconds = share * seconds * self._cores()
        disk = shutil.disk_usage(self._data)
        network = psutil.net_io_counters()
        watts = self._power.watts()
        return Usage(
            cpu_percent=100 * share,
            agent_share=min(1.0, own / busy_seconds) if busy_seconds else 0.0,
            memory_used=self._memory_used(),
            memory_total=self._hardware.memory_bytes,
            disk_used=disk.total - disk.free,  # what no update can write to, the reserve of root too
            disk_total=disk.total,
            agent_memory=self._process.memory(),
            power=self._estimated(share) if watts is None else watts,
            power_source="estimated" if watts is None else "measured",
            temperature=hardware.temperature(self._root),
            network_rx=network.bytes_recv if network else None,
            network_tx=network.bytes_sent if network else None,
        )

    def _estimated(self, share: float) -> float:
        return energy.estimated_watts(self._class, share) + self._power.unseen()

    def _cores(self) -> float:
        """Cores that `_busy` is a share of: under a quota the quota's, else every logical one."""
        return self._limits.cores or float(psutil.cpu_count() or 1)

    def _busy(self, seconds: float) -> float:
        """The busy share of all cores, 0 to 1. Under a quota only the container's own time counts."""
        host = float(psutil.cpu_percent()) / 100
        now = self._cgroup.cpu_seconds()
        before, self._group_seconds = self._group_seconds, now
        if self._limits.cores and now is not None and before is not None:
            return min(1.0, max(0.0, (now - before) / (seconds * self._limits.cores)))
        return min(1.0, host)

    def _memory_used(self) -> int:
        in_group = self._cgroup.memory_used()
        if in_group is not None and self._limits.memory and self._limits.memory <= self._hardware.memory_bytes:
            return in_group
        memory = psutil.virtual_memory()
        return int(memory.total - memory.available)


class DeclaredDevice:
    """A simulated device: the limits are `declared`, the usage is that of this process and its data folder."""

    simulated = True

    def __init__(self, declared: Declared, data: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._declared = declared
        self._data = data
        self._clock = clock
        self._hardware = Hardware(
            cores=declared.cores,
            memory_bytes=int(declared.memory_gib * GIB),
            storage_bytes=int(declared.storage_gib * GIB),
            platform=declared.platform,
            board=declared.board,
            accelerators=declared.accelerators,
            declared=True,
        )
        self._class = classify(self._hardware)
        self._process = _ProcessorTime(clock)

    def hardware(self) -> Hardware:
        return self._hardware

    def look_again(self) -> Hardware:
        return self._hardware  # what was declared stays

    def twin(self) -> "DeclaredDevice":
        return DeclaredDevice(self._declared, self._data, self._clock)

    def free_storage(self) -> int:
        """What is left of the declared storage, or of the host's where that is less."""
        left = self._hardware.storage_bytes - folder_bytes(self._data)
        return max(0, min(left, shutil.disk_usage(self._data).free))

    def usage(self) -> Usage:
        seconds, own = self._process.look()
        share = min(1.0, own / (seconds * self._hardware.cores))
        memory = self._process.memory()
        return Usage(
            cpu_percent=100 * share,
            agent_share=1.0,
            memory_used=memory,
            memory_total=self._hardware.memory_bytes,
            disk_used=self._hardware.storage_bytes - self.free_storage(),
            disk_total=self._hardware.storage_bytes,
            agent_memory=memory,
            power=energy.estimated_watts(self._class, share),
            power_source="estimated",
        )


def adapter(declared: Declared | None, data: Path) -> DeviceAdapter:
    """The device of these settings. Raises OSError when a real one's /proc cannot be read."""
    return DeclaredDevice(declared, data) if declared else DetectedDevice(data)
