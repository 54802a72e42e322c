"""Limits and usage of the container (control group, v1 or v2) that the agent runs in."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.device import tree


@dataclass(frozen=True, slots=True)
class Limits:
    """cores: processor time a second, in cores; memory: bytes. None where there is no limit.

    processors: the logical ones that this process may run on (a cpuset, or an affinity), None where that is not told.
    """

    cores: float | None = None
    memory: int | None = None
    processors: int | None = None


@dataclass(frozen=True, slots=True)
class _Names:
    """The files of one version, and the v1 controllers in which they lie."""

    memory_limit: str
    memory_used: str
    reclaimable: str


_V1 = _Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Names("memory.max", "memory.current", "inactive_file")


class Cgroup:
    """The control groups of this process below `root` (`/`, or a recorded tree), from its own up to the top one."""

    def __init__(self, root: Path) -> None:
        self._status = root / "proc/self/status"
        mount = root / "sys/fs/cgroup"
        self._v2 = (mount / "cgroup.controllers").is_file()
        self._names = _V2 if self._v2 else _V1
        paths = dict(_own_paths(root / "proc/self/cgroup"))
        if self._v2:
            self._memory = self._cpu = self._usage = _upwards(mount, paths.get("", "/"))
        else:
            self._memory = _upwards(_controller(mount, "memory"), paths.get("memory", "/"))
            self._cpu = _upwards(_controller(mount, "cpu"), paths.get("cpu", "/"))
            self._usage = _upwards(_controller(mount, "cpuacct"), paths.get("cpuacct", "/"))

    def limits(self) -> Limits:
        """The tightest limit on the way up holds."""
        cores = [cores for folder in self._cpu if (cores := self._quota(folder))]
        memory = [limit for folder in self._memory if (limit := self._memory_limit(folder))]
        return Limits(min(cores, default=None), min(memory, default=None), self._processors())

    def memory_used(self) -> int | None:
        """Bytes in use in the group that is limited, without file cache that the kernel can drop."""
        for folder in self._memory:
            used = tree.number(folder / self._names.memory_used)
            if self._memory_limit(folder) and used is not None:
                return max(0, used - _field(folder / "memory.stat", self._names.reclaimable))
        return None

    def cpu_seconds(self) -> float | None:
        """Processor time that the group with the quota has used."""
        for folder, usage in zip(self._cpu, self._usage, strict=False):
            if self._quota(folder):
                if self._v2:
                    return _field(usage / "cpu.stat", "usage_usec") / 1e6
                used = tree.number(usage / "cpuacct.usage")
                return used / 1e9 if used is not None else None
        return None

    def _processors(self) -> int | None:
        """From the process itself: there a cpuset shows, whichever version, and whether or not its files do."""
        for line in tree.text(self._status).splitlines():
            key, _, listed = line.partition(":")
            if key == "Cpus_allowed_list":
                return _count(listed.strip()) or None
        return None

    def _memory_limit(self, folder: Path) -> int | None:
        """v2 writes `max` for no limit, v1 a number near 2^63."""
        limit = tree.number(folder / self._names.memory_limit)
        return limit if limit and limit < 2**62 else None

    def _quota(self, folder: Path) -> float | None:
        if self._v2:
            words = tree.text(folder / "cpu.max").split()
            if len(words) != 2 or not words[0].isdigit() or not words[1].isdigit():
                return None
            quota, period = int(words[0]), int(words[1])
        else:
            quota = tree.number(folder / "cpu.cfs_quota_us") or 0
            period = tree.number(folder / "cpu.cfs_period_us") or 0
        return quota / period if quota > 0 and period > 0 else None


def _own_paths(file: Path) -> Iterator[tuple[str, str]]:
    """(controller, path) for each line of /proc/self/cgroup; v2 has the one controller ''."""
    for line in tree.text(file).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            yield controller, path


def _controller(mount: Path, name: str) -> Path:
    """Where a v1 controller is mounted: alone, or together with others (`cpu,cpuacct`)."""
    if (mount / name).is_dir():
        return mount / name
    together = [folder for folder in sorted(mount.glob("*,*")) if name in folder.name.split(",")]
    return together[0] if together else mount / name


def _upwards(mount: Path, path: str) -> list[Path]:
    """The folders from `path` up to the mount. Inside a container the path is the host's and need not exist there."""
    words = [word for word in path.split("/") if word not in {"", ".", ".."}]
    folders = [mount.joinpath(*words[:count]) for count in range(len(words), -1, -1)]
    return [folder for folder in folders if folder.is_dir()]


def _count(listed: str) -> int:
    """How many numbers a list of ranges (`0-3,6`) has; 0 when it is none."""
    count = 0
    for span in listed.split(","):
        first, _, last = span.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            return 0
        count += int(last or first) - int(first) + 1
    return max(0, count)


def _field(path: Path, name: str) -> int:
    """The number behind `name` in a file of `name number` lines; 0 when it is not there."""
    for line in tree.text(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdigit():
            return int(value)
    return 0
