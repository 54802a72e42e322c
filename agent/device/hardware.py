"""What a board is made of, read from a file tree: `/` on a device, a recorded one in a test."""

import platform
from collections.abc import Iterable, Iterator
from pathlib import Path

from agent.device import tree
from agent.device.cgroup import Limits
from agent.wire.hardware import Hardware

#: Files whose presence means an accelerator, relative to the root.
_DEVICE_FILES = (
    ("dev/nvidia0", "nvidia-gpu"),
    ("dev/apex_0", "coral-edgetpu"),
    ("dev/hailo0", "hailo"),
    ("dev/accel/accel0", "npu"),
    ("dev/kfd", "amd-gpu"),
)
#: Words in the device tree's `compatible` that mean an accelerator.
_COMPATIBLE = (("nvidia,tegra", "nvidia-tegra-gpu"), ("rockchip,rk3588", "rockchip-npu"), ("nxp,imx8mp", "imx8-npu"))
#: Vendor and product of a Coral stick, before and after its firmware is loaded.
_CORAL_USB = {("1a6e", "089a"), ("18d1", "9302")}


def detect(root: Path, storage_bytes: int, limits: Limits) -> Hardware:
    """The facts below `root`, after the container's limits. Storage is that of the data folder, in bytes."""
    cores = float(physical_cores(tree.text(root / "proc/cpuinfo")))
    memory = _memory_total(tree.text(root / "proc/meminfo"))
    return Hardware(
        cores=min(filter(None, (cores, limits.cores, limits.processors))),
        memory_bytes=min(memory, limits.memory) if limits.memory else memory,
        storage_bytes=storage_bytes,
        platform=f"{platform.system().lower()}-{platform.machine()}",
        board=board(root),
        accelerators=tuple(_unique(_accelerators(root))),
        sensors=tuple(_unique(_sensors(root))),
    )


def physical_cores(cpuinfo: str) -> int:
    """Physical cores of /proc/cpuinfo's text; where it does not tell (ARM), logical ones. At least 1."""
    physical: set[tuple[str, str]] = set()
    logical = 0
    for block in cpuinfo.split("\n\n"):
        fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block.splitlines())}
        if "processor" not in fields:
            continue
        logical += 1
        if "core id" in fields:
            physical.add((fields.get("physical id", "0"), fields["core id"]))
    return max(1, len(physical) or logical)


def board(root: Path) -> str:
    """The board's name: the device tree's on ARM, DMI's on a PC; empty when neither is there."""
    model = _device_tree(root, "model")
    if model:
        return model
    words = [tree.text(root / "sys/class/dmi/id" / name) for name in ("sys_vendor", "product_name")]
    return " ".join(_unique(word for word in words if word))[:128]


def _device_tree(root: Path, name: str) -> str:
    return tree.text(root / "proc/device-tree" / name) or tree.text(root / "sys/firmware/devicetree/base" / name)


def _memory_total(meminfo: str) -> int:
    for line in meminfo.splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo has no line MemTotal, so the device's memory is unknown")


def _accelerators(root: Path) -> Iterator[str]:
    for path in sorted(root.glob("proc/driver/nvidia/gpus/*/information")):
        for line in tree.text(path).splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "Model":
                yield value.strip()
    compatible = _device_tree(root, "compatible")
    yield from (name for word, name in _COMPATIBLE if word in compatible)
    if not any(root.glob("proc/driver/nvidia/gpus/*")):
        yield from (name for path, name in _DEVICE_FILES if (root / path).exists())
    for product in sorted(root.glob("sys/bus/usb/devices/*/idProduct")):
        if (tree.text(product.with_name("idVendor")), tree.text(product)) in _CORAL_USB:
            yield "coral-edgetpu"


def _sensors(root: Path) -> Iterator[str]:
    for path in sorted(root.glob("sys/class/video4linux/*/name")):
        yield f"camera: {tree.text(path)}"
    for path in sorted(root.glob("sys/bus/iio/devices/*/name")):
        yield f"iio: {tree.text(path)}"
    if any(root.glob("sys/class/thermal/thermal_zone*/temp")):
        yield "temperature"
    if any(root.glob("sys/class/power_supply/BAT*")):
        yield "battery"
    if any(root.glob("sys/class/hwmon/hwmon*/power1_input")) or any(root.glob("sys/class/hwmon/hwmon*/curr1_input")):
        yield "power"


def temperature(root: Path) -> float | None:
    """The hottest thermal zone, else the hottest hwmon input, in °C; None when there is neither."""
    zones = _degrees(root, "sys/class/thermal/thermal_zone*/temp")
    hottest = zones or _degrees(root, "sys/class/hwmon/hwmon*/temp*_input")
    return max(hottest, default=None)


def _degrees(root: Path, pattern: str) -> list[float]:
    found = []
    for path in root.glob(pattern):
        text = tree.text(path)
        # Switched-off zones answer with -273 °C, 0 or an error.
        if text.lstrip("-").isdigit() and 0 < int(text) < 150_000:
            found.append(int(text) / 1000)
    return found


def _unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))
