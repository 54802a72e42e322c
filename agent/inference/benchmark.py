"""Measures installed variants against each other: `python -m agent.inference.benchmark --runs N FOLDER...`.

Runs in a child process and prints one JSON line: for each folder ok, reason, error, p50 and p95 in ms, and memory, the
peak of this process in bytes. With several folders the runs are interleaved, so that whatever else the device does
hits all of them alike; the memory is then that of all together, so it is measured with one folder at a time.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent import child
from agent.inference.meter import percentile

#: Runs when only memory and error are wanted.
MEMORY_RUNS = 5
#: Seconds that a child may take: to start, and for each run of each variant.
START_SECONDS, RUN_SECONDS = 60.0, 1.0


def compare(
    folders: list[Path],
    *,
    runs: int,
    threads: int,
    memory: int,
    interrupted: Callable[[], bool] = lambda: False,
    progress: Callable[[float], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """The figures of each folder, in order; raises ChildStoppedError when `interrupted()` became true.

    Peak memory and errors each in a process of its own, then the times of those that passed interleaved in one
    process; one by one when together they would not fit into `memory` bytes.
    """

    def measured(group: list[Path], runs: int) -> list[dict[str, Any]]:
        arguments = ["--runs", str(runs), "--threads", str(threads), *map(str, group)]
        seconds = START_SECONDS + runs * len(group) * RUN_SECONDS
        try:
            result: list[dict[str, Any]] = child.run(
                "agent.inference.benchmark", arguments, seconds=seconds, memory=memory, interrupted=interrupted
            )
        except child.ChildError as problem:
            return [{"ok": False, "reason": str(problem)} for _ in group]
        return result

    figures: list[dict[str, Any]] = []
    for done, folder in enumerate(folders):
        figures += measured([folder], MEMORY_RUNS)
        progress((done + 1) / (2 * len(folders)))
    good = [number for number, each in enumerate(figures) if each["ok"]]
    together = sum(figures[number]["memory"] for number in good) <= memory
    for group in [good] if together and good else [[number] for number in good]:
        for number, times in zip(group, measured([folders[number] for number in group], runs), strict=True):
            figures[number] = {**times, "memory": figures[number]["memory"]}
    return figures


def measure(folders: list[Path], runs: int, threads: int) -> list[dict[str, Any]]:
    """The measurement itself, in the child."""
    from agent.inference.trial import Trial  # numpy and the runtime stay out of the agent's process

    results: list[dict[str, Any]] = []
    subjects: list[Trial | None] = []
    for folder in folders:
        try:
            subject = Trial(folder, threads)
            results.append({"ok": True, "reason": "", "error": subject.largest_error()})
            subjects.append(subject)
        except (ValueError, RuntimeError, OSError, ArithmeticError, MemoryError) as problem:
            results.append({"ok": False, "reason": str(problem) or type(problem).__name__})
            subjects.append(None)
    times: list[list[float]] = [[] for _ in folders]
    for number in range(runs):
        for each, own in zip(subjects, times, strict=True):
            if each is not None:
                own.append(each.timed(number))
    for result, own in zip(results, times, strict=True):
        if own:
            result.update(p50=percentile(own, 0.5), p95=percentile(own, 0.95))
        result["memory"] = child.peak_memory()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure installed variants on their golden observations.")
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    child.leave_with_parent()
    child.answer(measure(given.folders, given.runs, given.threads))


if __name__ == "__main__":
    main()
