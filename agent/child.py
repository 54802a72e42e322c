"""Runs a module of the agent in a child process, so that a model which crashes or swallows memory takes nothing along.

The child's last line is JSON; a library may print others before it. It reads its standard input and leaves when that
ends: a killed agent leaves no child.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import psutil

#: Bytes that are kept of what a child says.
_KEPT_OUT, _KEPT_ERROR = 256 * 1024, 4 * 1024
_POLL_SECONDS = 0.05


class ChildError(RuntimeError):
    """A child that crashed, took too long or too much memory, or said nothing; the message says which."""


class ChildStoppedError(RuntimeError):
    """The child was ended because its result is not wanted any more."""


def run(
    module: str,
    arguments: list[str],
    *,
    seconds: float,
    memory: int | None = None,
    interrupted: Callable[[], bool] = lambda: False,
    subject: str = "The model",
) -> Any:
    """The decoded last line of `python -m module arguments`. subject is what messages call the child's work.

    The child is killed after `seconds`, beyond `memory` bytes of resident memory, or once `interrupted()` is true.
    Raises ChildError or ChildStoppedError.
    """
    home = str(Path(__file__).resolve().parent.parent)
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    with subprocess.Popen(  # noqa: S603 -- the agent's own module, and arguments that the agent made
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",  # `-m` looks in the working directory first
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    ) as process:
        said, complained = _Tail(process.stdout, _KEPT_OUT), _Tail(process.stderr, _KEPT_ERROR)
        try:
            _guard(process, seconds, memory, interrupted, subject)
        except BaseException:
            process.kill()
            raise
        finally:
            said.join()
            complained.join()
    if process.returncode != 0:
        raise ChildError(_crash(process.returncode, complained.text(), subject))
    try:
        return json.loads(said.text().strip().rpartition("\n")[2])
    except ValueError as problem:
        raise ChildError(f"{module} gave no result: {said.text()[-200:]!r}") from problem


def _guard(
    process: "subprocess.Popen[bytes]",
    seconds: float,
    memory: int | None,
    interrupted: Callable[[], bool],
    subject: str,
) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            process.wait(_POLL_SECONDS)
            return
        except subprocess.TimeoutExpired:
            pass
        if interrupted():
            raise ChildStoppedError
        if time.monotonic() > end:
            raise ChildError(f"{subject} did not get through its test within {seconds:.0f} s.")
        used = _resident(process.pid)
        if memory is not None and used > memory:
            raise ChildError(
                f"{subject} took {used / 2**20:,.0f} MiB of memory, its budget is {memory / 2**20:,.0f} MiB."
            )


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:  # it ended meanwhile
        return 0


def _crash(code: int, complaint: str, subject: str) -> str:
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"{subject} crashed the process ({name})."
    last = complaint.strip().splitlines()[-1:] or [f"exit code {code}"]
    return f"The test process failed: {last[0][-500:]}"


class _Tail(threading.Thread):
    """Reads a pipe to its end and keeps the last bytes, so that a chatty child neither blocks nor fills the memory."""

    def __init__(self, pipe: IO[bytes] | None, kept: int) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self._kept = kept
        self._data = b""
        self.start()

    def run(self) -> None:
        while self._pipe and (chunk := os.read(self._pipe.fileno(), 65536)):
            self._data = (self._data + chunk)[-self._kept :]

    def text(self) -> str:
        return self._data.decode("utf-8", "replace")


# --- In the child ---


def leave_with_parent() -> None:
    """Call first in a child: ends the process as soon as the parent is gone.

    When memory runs out, the kernel ends this process before any other.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(3)


def answer(result: object) -> None:
    """Print the child's one line."""
    print(json.dumps(result), flush=True)


def resident_memory() -> int:
    """The resident memory of this process now, in bytes."""
    return _resident(os.getpid())


def peak_memory() -> int:
    """The highest resident memory of this process in bytes. getrusage would tell the parent's after a fork."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return int(psutil.Process().memory_info().rss)
