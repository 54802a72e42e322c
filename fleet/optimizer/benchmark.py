"""How fast and how large: latency beside the original's, memory in a process of its own, bytes on disk and on the wire.

python -m fleet.optimizer.benchmark MODEL.onnx SAMPLES.npz     prints the memory that one model takes
"""

import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agent.inference import runtimes
from fleet.optimizer.errors import PassError
from fleet.optimizer.evaluation import Figures
from fleet.optimizer.inputs import Feeds
from fleet.optimizer.statistics import ratio_of_medians

WARM_UP = 5
#: Runs of each model in one round: long enough for a median, short enough for both to see the same disturbances.
RUNS = 10
MEMORY_RUNS = 8
#: Long enough for a counter that is renewed a thousand times a second.
ENERGY_SECONDS = 0.5
#: However large the models are, a round ends after this long.
ROUND_SECONDS = 5.0


def latency(figures: Figures, variant: Path, original: Path, samples: Sequence[Feeds], rounds: int) -> None:
    """Fill in p50, p95 and the ratio to the original: call by call in turn, so that both see the same machine.

    Both are loaded for it, half of the rounds the one first and half the other: a session that was loaded later lies
    better in memory. Measured with one file on both sides: 3 to 5 % where the variant had been loaded long before, 1 %
    with both loaded anew.
    """
    measured: list[tuple[list[float], list[float]]] = []
    for half in (0, 1):
        loaded = [runtimes.load(path) for path in ((original, variant), (variant, original))[half]]
        theirs, mine = loaded[half], loaded[1 - half]
        for model in loaded:
            for i in range(WARM_UP):
                model.run(samples[i % len(samples)])
        measured += [_round(theirs, mine, samples, 2 * number + half) for number in range(-(-rounds // 2))]
    every = [seconds for _, mine in measured for seconds in mine]
    figures.p50_ms, figures.p95_ms = (float(1e3 * np.percentile(every, share)) for share in (50, 95))
    figures.ratio_p50, figures.ratio_low, figures.ratio_high = ratio_of_medians(measured)
    _all_threads(figures, variant, samples)


def _all_threads(figures: Figures, variant: Path, samples: Sequence[Feeds]) -> None:
    """Fill in the latency with every core, and the energy of a decision with one, where the processor counts it."""
    figures.threads = len(os.sched_getaffinity(0))
    model = runtimes.load(variant, figures.threads)
    times = [_timed(model, samples[i % len(samples)]) for i in range(WARM_UP + 3 * RUNS)]
    figures.p50_all_ms, figures.p95_all_ms = (float(1e3 * np.percentile(times[WARM_UP:], share)) for share in (50, 95))
    alone = runtimes.load(variant)
    before, start = joules(), time.perf_counter()
    runs = 0
    while before is not None and time.perf_counter() - start < ENERGY_SECONDS:
        alone.run(samples[runs % len(samples)])
        runs += 1
    after = joules()
    if before is not None and after is not None and runs and after > before:
        figures.joules = (after - before) / runs


def joules(root: Path = Path("/sys/class/powercap")) -> float | None:
    """What the processor's packages have used so far, in joules (RAPL); None where that cannot be read."""
    try:
        counters = [path for path in root.glob("intel-rapl:*") if path.name.count(":") == 1]
        return sum(int((path / "energy_uj").read_text()) for path in counters) / 1e6 if counters else None
    except (OSError, ValueError):
        return None


def _round(
    original: runtimes.Runtime, variant: runtimes.Runtime, samples: Sequence[Feeds], number: int
) -> tuple[list[float], list[float]]:
    theirs: list[float] = []
    mine: list[float] = []
    end = time.perf_counter() + ROUND_SECONDS
    for i in range(RUNS):
        feeds = samples[(number * RUNS + i) % len(samples)]
        # In turn who goes first: the second of two finds the caches as the first one left them.
        for model, times in ((original, theirs), (variant, mine))[:: 1 if i % 2 else -1]:
            times.append(_timed(model, feeds))
        if i >= 1 and time.perf_counter() > end:
            break
    return theirs, mine


def _timed(model: runtimes.Runtime, feeds: Feeds) -> float:
    start = time.perf_counter()
    model.run(feeds)
    return time.perf_counter() - start


def size(figures: Figures, path: Path) -> None:
    """Fill in the bytes, and what is left of them when a transport compresses (gzip, its fastest level)."""
    figures.bytes, packed = path.stat().st_size, 0
    squeeze = zlib.compressobj(level=1)
    with path.open("rb") as file:
        while piece := file.read(1024**2):
            packed += len(squeeze.compress(piece))
    figures.compressed_bytes = packed + len(squeeze.flush())


def memory(figures: Figures, path: Path, samples: Path) -> None:
    """Fill in the peak of a process that does nothing but run the model, and the model's own share of it."""
    done = subprocess.run(  # noqa: S603 - our own module; it stays inside this child's limits
        [sys.executable, "-m", "fleet.optimizer.benchmark", str(path), str(samples)],
        capture_output=True,
        timeout=300,
        check=False,
    )
    try:
        figures.peak_bytes, figures.memory_bytes, figures.load_ms = json.loads(done.stdout)
    except ValueError as problem:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise PassError(f"the model does not run alone: {said[-1][:300] if said else done.returncode}") from problem


def _peak() -> int:
    """The largest resident memory that this process ever had, in bytes."""
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


def main() -> None:
    import onnxruntime  # noqa: F401 - the runtime's own memory is not the model's

    path, samples = map(Path, sys.argv[1:3])
    with np.load(samples, allow_pickle=False) as file:
        feeds = {name.removeprefix("input/"): file[name] for name in file.files if name.startswith("input/")}
    before = _peak()
    start = time.perf_counter()
    model = runtimes.load(path)
    loaded = 1e3 * (time.perf_counter() - start)
    for i in range(MEMORY_RUNS):
        model.run({name: np.asarray(array[i % len(array)]) for name, array in feeds.items()})
    after = _peak()
    print(json.dumps([after, max(0, after - before), loaded]))


if __name__ == "__main__":
    main()
