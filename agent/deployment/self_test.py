"""The self-test of an installed variant, before it may act: `python -m agent.deployment.self_test FOLDER`.

Runs in a child process. Prints one JSON line: ok, reason, error (largest difference to the golden outputs), p50 and
p95 in ms, memory (peak, bytes), runs.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent import child
from agent.inference.meter import percentile
from agent.inference.runtimes import DEFAULT, Backend

#: Timed runs: this many, or as many as fit into SECONDS, but never fewer than FEWEST.
RUNS, SECONDS, FEWEST = 40, 10.0, 5
#: The child is killed after this long.
TIMEOUT = 120.0


def run(
    folder: Path,
    *,
    threads: int,
    memory: int,
    backend: Backend = DEFAULT,
    interrupted: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Test the variant in `folder` with at most `memory` bytes; the child's figures, with `ok` and `reason`.

    Never raises for what the model does; raises ChildStoppedError when `interrupted()` became true.
    """
    try:
        result: dict[str, Any] = child.run(
            "agent.deployment.self_test",
            [
                *(str(folder), "--threads", str(threads), "--memory", str(memory)),
                *("--runtime", backend.runtime, "--provider", backend.provider),
            ],
            seconds=TIMEOUT,
            memory=memory,
            interrupted=interrupted,
        )
    except child.ChildError as problem:
        return {"ok": False, "reason": str(problem)}
    return result


def test(folder: Path, threads: int, memory: int, backend: Backend = DEFAULT) -> dict[str, Any]:
    """The test itself, in the child."""
    from agent.inference import trial  # numpy and the runtime stay out of the agent's process

    figures: dict[str, Any] = {}

    def verdict(reason: str = "") -> dict[str, Any]:
        return {"ok": not reason, "reason": reason, "memory": child.peak_memory(), **figures}

    try:
        subject = trial.Trial(folder, threads, backend)
        figures["error"] = subject.largest_error()
    except (ValueError, RuntimeError, OSError, ArithmeticError, MemoryError) as problem:
        return verdict(str(problem) or type(problem).__name__)
    manifest = subject.manifest
    if figures["error"] > manifest.tolerance:
        return verdict(
            f"The outputs differ from the golden ones by {figures['error']:.3g}; "
            f"the manifest allows {manifest.tolerance:.3g}."
        )
    times: list[float] = []
    end = time.monotonic() + SECONDS
    while len(times) < RUNS and (len(times) < FEWEST or time.monotonic() < end):
        times.append(subject.timed(len(times)))
    figures.update(p50=percentile(times, 0.5), p95=percentile(times, 0.95), runs=len(times))
    if figures["p95"] > manifest.deadline_ms:
        return verdict(
            f"A decision takes {figures['p95']:.1f} ms (95th percentile of {len(times)}); "
            f"the deadline is {manifest.deadline_ms:.1f} ms."
        )
    if child.peak_memory() > memory:
        return verdict(f"The model took {child.peak_memory()} bytes of memory, its budget is {memory}.")
    return verdict()


def main() -> None:
    parser = argparse.ArgumentParser(description="Test an installed variant on its golden observations.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", type=int, default=2**62, help="bytes that the process may use")
    parser.add_argument("--runtime", default=DEFAULT.runtime)
    parser.add_argument("--provider", default=DEFAULT.provider)
    given = parser.parse_args()
    child.leave_with_parent()
    child.answer(test(given.folder, given.threads, given.memory, Backend(given.runtime, given.provider)))


if __name__ == "__main__":
    main()
