"""Which runtime decides fastest on this device: `python -m agent.inference.selection FOLDER CANDIDATES …` in children.

ONNX Runtime on the processor comes first, with different numbers of threads. Every other runtime, provider or device
that is there then competes with the best of these in a child of its own, so that one which crashes spoils nothing. A
child checks each candidate on the golden observations, and times in turn those that answer right: whatever else the
device does meanwhile hits all of them alike.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from agent import child
from agent.inference import runtimes
from agent.inference.meter import percentile

if TYPE_CHECKING:
    from agent.inference.trial import Trial

#: Timed runs of each candidate in one child: so many, or as many as fit into SECONDS, but never fewer than FEWEST.
RUNS, SECONDS, FEWEST = 60, 1.5, 5
#: Golden observations that a candidate has to answer; the self-test then asks them all of the one that was chosen.
SAMPLES = 8
#: A child is killed after this long: a provider that takes minutes to compile the model is none to wait for.
TIMEOUT = 20.0
#: What costs more, in cores or in memory, has to be faster by this factor.
MARGIN = 1.1


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one candidate did: p50 in ms, error the largest to the golden outputs; or why it does not count."""

    runtime: str
    provider: str
    threads: int
    p50: float = 0.0
    error: float = 0.0
    reason: str = ""

    @property
    def backend(self) -> runtimes.Backend:
        return runtimes.Backend(self.runtime, self.provider)

    def __str__(self) -> str:
        return words(self.backend, self.threads)


class Choice(msgspec.Struct, frozen=True):
    """What runs an artifact on this device, and everything that was measured for it; p50 is the self-test's."""

    runtime: str = runtimes.DEFAULT.runtime
    provider: str = runtimes.DEFAULT.provider
    threads: int = 1
    p50: float = 0.0
    measured: tuple[Row, ...] = ()

    @property
    def backend(self) -> runtimes.Backend:
        return runtimes.Backend(self.runtime, self.provider)

    def __str__(self) -> str:
        return words(self.backend, self.threads)

    def evidence(self) -> dict[str, float | str]:
        """For the deployment's report: what was chosen, and each candidate's p50 or the reason why it has none."""
        figures: dict[str, float | str] = {"runtime": str(self)}
        for row in self.measured[:12]:
            figures[f"p50 {row}"] = row.reason[:200] or round(row.p50, 3)
        return figures


def words(backend: runtimes.Backend, threads: int) -> str:
    return f"{backend}, {threads} thread{'' if threads == 1 else 's'}"


def thread_counts(most: int) -> list[int]:
    """1, 2, 4, … and `most` itself."""
    return sorted({1 << power for power in range(most.bit_length())} | {most})


def is_open(threads: int, installed: Iterable[str], only: str = "") -> bool:
    """Whether there is anything to choose from: more than one thread, or more than the plain ONNX Runtime."""
    if only == "onnxruntime":
        installed = [name for name in installed if name.startswith("onnxruntime")]
    return threads > 1 or any(not name.startswith("onnxruntime-") for name in installed)


def choose(
    folder: Path, *, threads: int, memory: int, only: str = "", interrupted: Callable[[], bool] = lambda: False
) -> Choice:
    """The fastest for the artifact in `folder` with at most `threads`; `only` names the one runtime to consider.

    Never raises for what a runtime does; raises ChildStoppedError when `interrupted()` became true. With no candidate
    that works, the default on all threads, for the self-test to say what is wrong.
    """

    def measured(candidates: Sequence[tuple[runtimes.Backend, int]]) -> tuple[list[Row], list[runtimes.Backend]]:
        made = [Row(backend.runtime, backend.provider, count) for backend, count in candidates]
        try:
            told = child.run(
                "agent.inference.selection",
                [str(folder), msgspec.json.encode(made).decode(), "--memory", str(memory)],
                seconds=TIMEOUT,
                memory=memory,
                interrupted=interrupted,
                subject="The runtime",
            )
        except child.ChildError as problem:
            return [msgspec.structs.replace(row, reason=str(problem)) for row in made], []
        return msgspec.convert(told["rows"], list[Row]), [runtimes.Backend(*each) for each in told["others"]]

    counts = thread_counts(threads)
    rows, others = measured([(runtimes.DEFAULT, count) for count in counts])
    best = fastest(rows)
    if best is None:
        return Choice(threads=threads, measured=tuple(rows))
    chosen, gain = best, MARGIN
    for backend in others:
        if only and backend.runtime != only:
            continue
        # Elsewhere than on the processor, threads hardly matter.
        tried = counts if backend.provider in ("CPU", "OpenVINO", "Xnnpack") else [best.threads]
        beside, *own = measured([(best.backend, best.threads), *((backend, count) for count in tried)])[0]
        rows += own
        winner = fastest(own)
        # Against the default in the same child: what the device did between two children tells nothing. And against
        # what the default can do at all: the device may have been busy in this one.
        if winner is not None and (only or (beside.p50 >= gain * winner.p50 and winner.p50 < best.p50)):
            chosen, gain = winner, beside.p50 / winner.p50
    return Choice(chosen.runtime, chosen.provider, chosen.threads, chosen.p50, tuple(rows))


def fastest(rows: Iterable[Row]) -> Row | None:
    """The fastest that answered right; a later one, which costs more, has to be faster by MARGIN."""
    best: Row | None = None
    for row in rows:
        if not row.reason and (best is None or row.p50 * MARGIN <= best.p50):
            best = row
    return best


# --- In the child ---


def measure(folder: Path, candidates: Sequence[Row], memory: int) -> list[Row]:
    """Check and time them. As many at once as fit into `memory` bytes; the others after these."""
    from agent.inference.trial import Trial  # numpy and the runtime stay out of the agent's process

    end = time.monotonic() + SECONDS
    rows = list(candidates)
    together: dict[int, Trial] = {}
    largest = 0
    for place, row in enumerate(candidates):
        before = child.resident_memory()
        if together and before + largest > memory:
            _time(together, rows, end)
            together.clear()
            before = child.resident_memory()
        try:
            subject = Trial(folder, row.threads, row.backend)
            error = subject.largest_error(SAMPLES)
        except Exception as problem:  # a foreign library may raise anything, and the others are still to be measured
            rows[place] = msgspec.structs.replace(row, reason=str(problem)[:500] or type(problem).__name__)
            continue
        largest = max(largest, child.resident_memory() - before)
        tolerance = subject.manifest.tolerance
        if error > tolerance:
            reason = f"its answers differ by {error:.3g}, the manifest allows {tolerance:.3g}"
            rows[place] = msgspec.structs.replace(row, error=error, reason=reason)
            continue
        rows[place] = msgspec.structs.replace(row, error=error)
        together[place] = subject
    _time(together, rows, end)
    return rows


def _time(subjects: "dict[int, Trial]", rows: list[Row], end: float) -> None:
    """Fill in the p50 of these, each in turn."""
    times: dict[int, list[float]] = {place: [] for place in subjects}
    for number in range(RUNS):
        if number >= FEWEST and time.monotonic() > end:
            break
        for place, subject in subjects.items():
            times[place].append(subject.timed(number))
    for place, own in times.items():
        rows[place] = msgspec.structs.replace(rows[place], p50=round(percentile(own, 0.5), 4))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure runtimes for an installed variant.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("candidates", help="JSON list of runtime, provider and threads")
    parser.add_argument("--memory", type=int, default=2**62, help="bytes that the process may use")
    given = parser.parse_args()
    child.leave_with_parent()
    rows = measure(given.folder, msgspec.json.decode(given.candidates, type=list[Row]), given.memory)
    others: list[Any] = []
    if all(row.backend == runtimes.DEFAULT for row in rows):
        others = [(backend.runtime, backend.provider) for backend in runtimes.others()]
    child.answer({"rows": [msgspec.to_builtins(row) for row in rows], "others": others})


if __name__ == "__main__":
    main()
