"""Power and energy: measured where the board tells, else estimated from a stated model, and always labelled.

The estimate is `idle + share * (full - idle)` watts, share being the busy part of all cores. Idle and full load are
those of one common board for each class (`ESTIMATE`): an orientation, never a measurement.

It is tested on file trees as boards show them. NVML was compared with nvidia-smi on one card, idle and busy; the older
Jetsons' files were not verified on hardware.
"""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from agent.device import tree
from agent.wire.hardware import DeviceClass

log = logging.getLogger(__name__)

Source = Literal["measured", "estimated"]


@dataclass(frozen=True, slots=True)
class Range:
    """Watts when idle and with all cores busy."""

    idle: float
    full: float


#: A Raspberry Pi 4 B; an 8-core mobile computer in its 25 W mode; a single-socket server without a GPU.
ESTIMATE = {
    DeviceClass.EMBEDDED: Range(2.7, 6.4),
    DeviceClass.MOBILE: Range(5.0, 25.0),
    DeviceClass.EDGE_SERVER: Range(40.0, 150.0),
}


def estimated_watts(device_class: DeviceClass, share: float) -> float:
    """share: the busy part of all cores, 0 to 1."""
    watts = ESTIMATE[device_class]
    return watts.idle + min(1.0, max(0.0, share)) * (watts.full - watts.idle)


def joules_per_action(watts: float, share: float, seconds: float, actions: int) -> float | None:
    """What one decision cost: the agent's `share` (0 to 1) of the power over `seconds`, divided by the decisions."""
    return watts * share * seconds / actions if actions > 0 else None


#: Chips whose power is that of a graphics card, not the board's.
_GRAPHICS = frozenset(("amdgpu", "i915", "nouveau", "radeon", "xe"))


class GraphicsPower:
    """NVIDIA cards by their management library (NVML), which the extra `nvidia` installs; elsewhere nothing."""

    def __init__(self, root: Path) -> None:
        self._handles: list[Any] = []
        if not any(root.glob("proc/driver/nvidia/gpus/*")):
            return
        try:
            import pynvml

            pynvml.nvmlInit()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(each) for each in range(pynvml.nvmlDeviceGetCount())]
        except Exception as problem:  # the package is missing, or the driver does not answer
            log.info("the power of the NVIDIA card is not read: %s", problem)

    def watts(self) -> float:
        """All cards together, now; 0 where there is none that tells."""
        total = 0.0
        for handle in self._handles:
            import pynvml

            with contextlib.suppress(pynvml.NVMLError):  # a card that does not tell
                total += pynvml.nvmlDeviceGetPowerUsage(handle) / 1e3
        return total


class PowerSensor:
    """Reads the first of RAPL, board sensors (hwmon, INA) and battery that answers, below `root`.

    RAPL counts the processors only, so the graphics cards' power is added to it; the others see the whole board.
    """

    def __init__(self, root: Path, clock: Callable[[], float]) -> None:
        self._root = root
        self._clock = clock
        self._zones = [
            path.parent
            for path in sorted(root.glob("sys/class/powercap/*:*/energy_uj"))
            # Packages only (`intel-rapl:0`): a package's count holds its cores and its graphics already.
            if path.parent.name.count(":") == 1
        ]
        self._graphics = GraphicsPower(root)
        self._last: tuple[float, list[int]] | None = None
        self._rapl()  # the first look only starts the counter

    def watts(self) -> float | None:
        """Watts over the time since the last call (RAPL) or now (all others); None when the board does not tell."""
        processors = self._rapl()
        if processors is not None:
            return processors + self._graphics.watts()
        for reader in (self._hwmon, self._jetson, self._battery):
            found = reader()
            if found is not None:
                return found
        return None

    def unseen(self) -> float:
        """Watts that an estimate from the processors' load leaves out: those of the graphics cards."""
        return self._graphics.watts()

    def _rapl(self) -> float | None:
        now, counts = self._clock(), [tree.number(zone / "energy_uj") for zone in self._zones]
        whole = [count for count in counts if count is not None]
        if not whole or len(whole) != len(counts):  # since 2020, kernels let only root read these
            return None
        last, self._last = self._last, (now, whole)
        if last is None or now <= last[0]:
            return None
        joules = 0.0
        for zone, before, after in zip(self._zones, last[1], whole, strict=True):
            step = after - before
            if step < 0:  # the counter begins anew at its range
                step += tree.number(zone / "max_energy_range_uj") or 0
            joules += max(0, step) / 1e6
        return joules / (now - last[0])

    def _hwmon(self) -> float | None:
        """Sums the chips; one with voltage (mV) and current (mA) only, as an INA3221, gives their product."""
        total, any_found = 0.0, False
        for chip in sorted(self._root.glob("sys/class/hwmon/hwmon*")):
            if tree.text(chip / "name") in _GRAPHICS:
                continue
            inputs = [tree.number(path) for path in sorted(chip.glob("power*_input"))]
            found = [value / 1e6 for value in inputs if value is not None]
            if not found:
                pairs = [
                    (tree.number(path), tree.number(chip / path.name.replace("curr", "in")))
                    for path in sorted(chip.glob("curr*_input"))
                ]
                found = [amps * volts / 1e6 for amps, volts in pairs if amps is not None and volts is not None]
            # The first rail of an INA is the board's input; the others are parts of it.
            if found:
                total, any_found = total + found[0], True
        return total if any_found else None

    def _jetson(self) -> float | None:
        """Jetsons up to JetPack 4: the INA3221 as an industrial-I/O device, in mW; the first rail is the board's."""
        for path in sorted(self._root.glob("sys/bus/i2c/drivers/ina3221x/*/iio:device*/in_power0_input")):
            milliwatts = tree.number(path)
            if milliwatts is not None:
                return milliwatts / 1e3
        return None

    def _battery(self) -> float | None:
        """Only while discharging: on a charger the battery's power says nothing about the board's."""
        for supply in sorted(self._root.glob("sys/class/power_supply/BAT*")):
            if tree.text(supply / "status") != "Discharging":
                continue
            watts = tree.number(supply / "power_now")
            if watts is not None:
                return watts / 1e6
            amps, volts = tree.number(supply / "current_now"), tree.number(supply / "voltage_now")
            if amps is not None and volts is not None:
                return amps * volts / 1e12
        return None
