"""What a search measured once is not measured again: folders named by the content of the work.

The key of a piece of work is a hash of all that its result depends on: the upload, the card, the evaluation set, the
evaluator's code, the techniques with their settings, the budget, the versions of the tools, and the processor.
"""

import hashlib
import importlib.util
import os
import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from fleet.optimizer.errors import OptimizerError

TOOLS = ("torch", "onnx", "onnxscript", "onnxslim", "onnxruntime", "numpy")

#: This optimizer's own sources, without what only steers a search.
_HERE = Path(__file__).parent


def tools() -> dict[str, str]:
    """Versions of what a result depends on; the optimizer's own is a hash of its sources. Imports none of them."""
    sources = sorted(path for path in _HERE.rglob("*.py"))
    own = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    return {name: version(name) for name in TOOLS} | {"python": platform.python_version(), "optimizer": own}


def processor() -> str:
    """The processor's name: latencies and peak memory are those of this machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def machine() -> str:
    """This machine in words: name, system, cores and memory, as far as a process may use them."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{platform.node()} ({platform.system()} {platform.machine()}, {cores} cores, {memory:.0f} GiB)"


def evaluator_source(name: str) -> str:
    """A hash of the sources beside an evaluator: a world that changed is another evaluation."""
    module = name.partition(":")[0]
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.origin:
        raise OptimizerError(f"the evaluator {name!r} is not installed on this server")
    sources = sorted(Path(found.origin).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def digest_of(path: str | None) -> str:
    if path is None:
        return ""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key_of(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(facts, order="deterministic")).hexdigest()


class Cache:
    """Folders under `root`, each there as a whole or not at all. Several searches may share it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def find(self, key: str) -> Path | None:
        """The folder of a finished piece of work; its `done.json` says what came of it."""
        folder = self._root / key
        return folder if (folder / "done.json").is_file() else None

    def keep(self, key: str, made: Path, result: msgspec.Struct) -> Path:
        """Move a finished folder in. When another search was first, its folder stays, and is as good."""
        for path in made.rglob("*"):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise OptimizerError(f"the child left {path.name!r}, which is no plain file")
        (made / "done.json").write_bytes(msgspec.json.encode(result))
        folder = self._root / key
        # Moved beside its place first: a cache on another disk is copied to, and a copy is not there at once.
        moving = Path(shutil.move(made, self._root / f".{key}.{made.name}"))
        try:
            moving.rename(folder)
        except OSError:
            shutil.rmtree(moving)
        found = self.find(key)
        if found is None:
            raise OptimizerError(f"the cache folder {folder} is damaged: remove it")
        return found
