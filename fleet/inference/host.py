"""A model's process, and the thread that starts it, feeds it one request at a time, and ends it.

1. A request waits in a line of bounded length. One whose deadline has passed is not given to the model.
2. The process is started with the first request, and again with the next one after it died.
3. A process that dies over a request costs that request; one that is stuck is killed.
4. Without a request for `IDLE_SECONDS` the process ends, and the thread with it.
"""

import json
import logging
import os
import queue
import selectors
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from fleet.inference.child import ACT, NO_JSON_SIZE, REPLY, REQUEST, TENSORS
from fleet.inference.refusal import Refusal
from fleet.inference.serving import Served
from fleet.optimizer.confine import Limits

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parent.parent.parent
KINDS = {"act": ACT, "tensors": TENSORS}
LINE = 32
#: Seconds: for loading a model, for one answer beyond any deadline, before a model that does not load is tried again.
LOAD_SECONDS, STUCK_SECONDS, AGAIN_SECONDS, IDLE_SECONDS = 60.0, 10.0, 30.0, 600.0
#: Bytes of an answer.
MAX_ANSWER = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model answered; milliseconds: what it took in its process."""

    status: int
    body: bytes
    json_size: int | None
    milliseconds: float


@dataclass(slots=True)
class _Asked:
    """A request; without a body it only wants the model to be there."""

    body: bytes | None
    kind: int
    json_size: int
    until: float
    answer: Future[Reply] = field(default_factory=Future)


class Host:
    """One for each model that answers. `ask` and `stop` may be called from any thread.

    folder gives the model's files; it is called in the host's thread. Times are of the steady clock, in seconds.
    """

    def __init__(self, served: Served, folder: Callable[[], Path], memory: int, threads: int = 1) -> None:
        self.served = served
        self._folder = folder
        self._limits = Limits(memory_bytes=memory, file_bytes=1024 * 1024, cpu_seconds=2**31, nice=0, files=64)
        self._threads = threads
        self._line: queue.Queue[_Asked | None] = queue.Queue(LINE)
        self._child: _Child | None = None
        self._broken_until, self._why = 0.0, ""
        self.over = False
        self._thread = threading.Thread(target=self._run, name=f"inference {served.manifest[:8]}", daemon=True)
        self._thread.start()

    @property
    def loaded(self) -> bool:
        return self._child is not None

    def ask(self, kind: str, body: bytes, json_size: int | None, until: float) -> Future[Reply]:
        """Raises Refusal when too many wait; the future may hold one, too."""
        return self._put(_Asked(body, KINDS[kind], len(body) if json_size is None else json_size, until))

    def warm(self, until: float) -> Future[Reply]:
        """Done once the model is loaded."""
        return self._put(_Asked(None, ACT, 0, until))

    def stop(self) -> None:
        """End after what is being answered; what waits is refused."""
        self.over = True
        while True:
            try:
                self._line.put_nowait(None)
                return
            except queue.Full:
                self._refuse_next()

    def _put(self, asked: _Asked) -> Future[Reply]:
        try:
            self._line.put_nowait(asked)
        except queue.Full:
            raise Refusal(503, "busy", f"{LINE} requests wait for {self.served} already.", 1) from None
        return asked.answer

    # --- The thread ---

    def _run(self) -> None:
        try:
            while (asked := self._line.get(timeout=IDLE_SECONDS)) is not None:
                if asked.answer.set_running_or_notify_cancel():
                    try:
                        asked.answer.set_result(self._answer(asked))
                    except Refusal as refusal:
                        asked.answer.set_exception(refusal)
                    except Exception:
                        log.exception("%s could not be asked", self.served)
                        self._end_child()
                        asked.answer.set_exception(Refusal(500, "crash", "The server could not ask the model."))
        except queue.Empty:
            pass
        finally:
            self.over = True
            self._end_child()
            while self._refuse_next():
                pass

    def _refuse_next(self) -> bool:
        try:
            asked = self._line.get_nowait()
        except queue.Empty:
            return False
        if asked is not None and asked.answer.set_running_or_notify_cancel():
            asked.answer.set_exception(Refusal(503, "busy", f"{self.served} gives way to another model.", 1))
        return True

    def _answer(self, asked: _Asked) -> Reply:
        now = time.monotonic()
        if now >= asked.until:
            raise Refusal(503, "late", "The request waited longer than its deadline.")
        if self._child is None:
            if now < self._broken_until:
                raise Refusal(503, "model", self._why, 30)
            try:
                self._child = _Child(self._folder(), self.served, self._limits, self._threads)
            except (OSError, ValueError, _DiedError) as problem:
                self._broken_until, self._why = now + AGAIN_SECONDS, f"{self.served} does not load: {problem}."
                log.error("%s", self._why)
                raise Refusal(503, "model", self._why, 30) from problem
        if asked.body is None:
            return Reply(200, b"", None, 0.0)
        try:
            return self._child.ask(asked.kind, asked.body, asked.json_size, max(now, asked.until) + STUCK_SECONDS)
        except _DiedError as problem:
            self._end_child()
            log.error("%s broke over a request: %s", self.served, problem)
            raise Refusal(502, "crash", f"The model broke over this request: {problem}.") from problem

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()


class _DiedError(Exception):
    """The process ended, or was killed, before it answered; the message says why."""


class _Child:
    """The process. Raises _DiedError when it does not load the model."""

    def __init__(self, folder: Path, served: Served, limits: Limits, threads: int) -> None:
        limiting = [sys.executable, "-m", "fleet.optimizer.confine", msgspec.json.encode(limits).decode()]
        model = ["fleet.inference.child", str(folder), served.manifest, served.model, served.version, str(threads)]
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH") if name in os.environ}
        with tempfile.TemporaryFile() as errors:
            self._errors = os.dup(errors.fileno())
            self._process = subprocess.Popen(  # noqa: S603 - our own module, and arguments that the server made
                [*limiting, str(os.getpid()), *model],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=folder,
                env=kept | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": str(threads)},
                start_new_session=True,
            )
        self._in, self._out = self._process.stdin, self._process.stdout
        for pipe in (self._in, self._out):
            os.set_blocking(pipe.fileno(), False)
        try:
            end = time.monotonic() + LOAD_SECONDS
            self._skip_notes(end)
            loaded = self._reply(end)
            if loaded.status != 200:
                raise _DiedError(json.loads(loaded.body)["error"].rstrip("."))
        except BaseException:
            self.end()
            raise

    def _skip_notes(self, end: float) -> None:
        """What confine says this system lacks is a line of JSON before the first answer."""
        self._ahead = self._read(1, end)
        if self._ahead == b"{":
            while self._read(1, end) != b"\n":
                pass
            self._ahead = b""

    def ask(self, kind: int, body: bytes, json_size: int, end: float) -> Reply:
        self._write(REQUEST.pack(kind, json_size, len(body)), end)
        self._write(body, end)
        return self._reply(end)

    def _reply(self, end: float) -> Reply:
        head = self._ahead + self._read(REPLY.size - len(self._ahead), end)
        self._ahead = b""
        status, json_size, size, milliseconds = REPLY.unpack(head)
        if size > MAX_ANSWER:
            raise _DiedError(f"its answer has {size:,} bytes")
        return Reply(status, self._read(size, end), None if json_size == NO_JSON_SIZE else json_size, milliseconds)

    def _write(self, data: bytes, end: float) -> None:
        view = memoryview(data)
        while view:
            self._wait(self._in, selectors.EVENT_WRITE, end)
            try:
                view = view[os.write(self._in.fileno(), view) :]
            except BrokenPipeError as problem:
                raise _DiedError(self._end_words()) from problem

    def _read(self, size: int, end: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            self._wait(self._out, selectors.EVENT_READ, end)
            piece = os.read(self._out.fileno(), min(size - len(data), 1024 * 1024))
            if not piece:
                raise _DiedError(self._end_words())
            data += piece
        return bytes(data)

    def _wait(self, pipe, event: int, end: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, event)
            if not selector.select(max(0.0, end - time.monotonic())):
                raise _DiedError("it took too long, and was stopped")

    def _end_words(self) -> str:
        """How it ended, with the last line of what it complained of."""
        try:
            code = self._process.wait(2)
        except subprocess.TimeoutExpired:
            return "it closed its pipes"
        said = os.pread(self._errors, 4000, max(0, os.fstat(self._errors).st_size - 4000)).decode("utf-8", "replace")
        last = said.strip().splitlines()[-1:]
        return f"its process ended with code {code}{f' ({last[0][:200]})' if last else ''}"

    def end(self) -> None:
        """The process, and whatever it started: they share its session."""
        try:
            os.killpg(self._process.pid, 9)
        except (ProcessLookupError, PermissionError):
            self._process.kill()
        self._process.wait()
        self._in.close()
        self._out.close()
        os.close(self._errors)
