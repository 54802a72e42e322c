"""Runs a module of the optimizer as a child with limits, so that what somebody uploaded cannot take the server along.

The child has its own session: it is killed whole, with whatever it started. It inherits no secrets: its environment
holds a handful of names. What it says is read line by line and bounded.
"""

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec

from fleet.optimizer.confine import Limits
from fleet.optimizer.errors import Cancelled, SandboxError

ROOT = Path(__file__).resolve().parent.parent.parent

OnProgress = Callable[[float, str], None]
IsCancelled = Callable[[], bool]

_POLL_SECONDS = 0.1
_MAX_LINE = 4 * 1024**2
_MAX_OUTPUT = 64 * 1024**2
_KEPT_ERRORS = 4000


class _Said(msgspec.Struct):
    """One line of a child: progress, notes, its result or its error."""

    progress: float | None = None
    text: str = ""
    notes: list[str] = []
    result: dict[str, Any] | None = None
    error: str = ""


@dataclass(slots=True)
class Finished:
    """A child's result, and what its sandbox lacked on this system."""

    result: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def run(
    module: str,
    request: msgspec.Struct,
    folder: Path,
    *,
    limits: Limits,
    on_progress: OnProgress = lambda share, text: None,
    cancelled: IsCancelled = lambda: False,
) -> Finished:
    """Run `python -m module` on the request, in `folder`, and return its result.

    Raises SandboxError with a sentence when the child fails, is killed or outlasts `limits`; Cancelled, within a
    second, once `cancelled()` is true.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asked = folder / "request.json"
    asked.write_bytes(msgspec.json.encode(request))
    confined = [sys.executable, "-m", "fleet.optimizer.confine", msgspec.json.encode(limits).decode(), str(os.getpid())]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(  # noqa: S603 - our own module; the request is a file, not an argument
            [*confined, module, str(asked)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=folder,
            env=_environment(folder),
            start_new_session=True,
        ) as child,
    ):
        try:
            reader = _Reader(child, limits, on_progress, cancelled)
            reader.read()
            child.wait(timeout=10)
        except subprocess.TimeoutExpired as problem:
            raise SandboxError("it closed its output and went on, and was stopped") from problem
        finally:
            _kill(child)
        return reader.finished(child.wait(), errors)


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH") if name in os.environ}
    threads = os.environ.get("EDGEFLEET_OPTIMIZER_THREADS", str(os.cpu_count() or 1))
    return kept | {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def _kill(child: "subprocess.Popen[bytes]") -> None:
    """The child and all that it started: they share its session, also after it has ended."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        if child.poll() is None:
            child.kill()


class _Reader:
    """Follows a child until it closes its output, is cancelled, or outlasts its time."""

    def __init__(
        self, child: "subprocess.Popen[bytes]", limits: Limits, on_progress: OnProgress, cancelled: IsCancelled
    ) -> None:
        self._child, self._limits = child, limits
        self._on_progress, self._cancelled = on_progress, cancelled
        self._result: dict[str, Any] | None = None
        self._error = ""
        self._notes: list[str] = []

    def read(self) -> None:
        output = self._child.stdout
        if output is None:  # never: it was asked for as a pipe
            return
        end = time.monotonic() + self._limits.wall_seconds
        buffered, total = b"", 0
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while True:
                if self._cancelled():
                    raise Cancelled("the work was cancelled")
                if time.monotonic() > end:
                    raise SandboxError(f"it took longer than {self._limits.wall_seconds:g} s and was stopped")
                if not selector.select(_POLL_SECONDS):
                    if self._child.poll() is not None:
                        return  # ended, while something that it started still holds its output open
                    continue
                piece = os.read(output.fileno(), 65536)
                if not piece:
                    return
                total += len(piece)
                *lines, buffered = (buffered + piece).split(b"\n")
                if total > _MAX_OUTPUT or len(buffered) > _MAX_LINE:
                    raise SandboxError("it said more than it may, and was stopped")
                for line in lines:
                    self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            said = msgspec.json.decode(line, type=_Said)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
            raise SandboxError(f"it said something that is no message: {line[:80]!r}") from problem
        if said.progress is not None:
            self._on_progress(min(1.0, max(0.0, said.progress)), said.text[:200])
        self._notes += said.notes[:10]
        self._result = said.result if said.result is not None else self._result
        self._error = said.error or self._error

    def finished(self, code: int, errors: IO[bytes]) -> Finished:
        """Raises SandboxError unless the child gave a result and ended well."""
        if code == 0 and self._result is not None:
            return Finished(self._result, self._notes)
        if self._error:
            raise SandboxError(self._error)
        if code == -signal.SIGXCPU:
            raise SandboxError(f"it used more than {self._limits.cpu_seconds} s of processor time and was stopped")
        said = self._last(errors)
        if code == -signal.SIGKILL or "MemoryError" in said or "bad_alloc" in said or "an't allocate memory" in said:
            limit = self._limits.memory_bytes / 2**30
            raise SandboxError(f"it was killed, most likely for needing more than {limit:.1f} GiB of memory")
        if code < 0:
            raise SandboxError(f"it crashed with {signal.Signals(-code).name}{said and f' ({said})'}")
        raise SandboxError(f"it ended with code {code} and no result{said and f' ({said})'}")

    @staticmethod
    def _last(errors: IO[bytes]) -> str:
        """The last line of what the child complained of."""
        size = errors.seek(0, os.SEEK_END)
        errors.seek(max(0, size - _KEPT_ERRORS))
        lines = errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else ""
