"""What runs each artifact on this device, as it was measured: `runtimes.json`, beside the state."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from agent.device.resource_manager import Budget
from agent.files import write_atomically
from agent.inference import runtimes, selection
from agent.inference.selection import Choice
from agent.wire.hardware import Hardware

log = logging.getLogger(__name__)

#: Artifacts that are remembered; the one that was chosen for longest ago goes first.
MOST = 16


class _Kept(msgspec.Struct, frozen=True):
    """The file. machine says on what it was measured: on anything else it tells nothing."""

    machine: tuple[str, ...]
    choices: dict[str, Choice]
    schema: Literal[1] = 1


class Choices:
    """Survives a restart; forgets everything when the machine is another one. Used by the update machine's thread.

    threads is the most that a decision may take here, `only` the one runtime that the settings allow, if they do.
    """

    def __init__(self, path: Path, hardware: Hardware, threads: int, only: str = "") -> None:
        self._path = path
        self._threads = threads
        self._only = only
        self._libraries = runtimes.installed()
        self._open = selection.is_open(threads, self._libraries, only)
        board = (hardware.platform, hardware.board, f"{hardware.cores:g} cores", *hardware.accelerators)
        self._machine = (*board, f"at most {threads} threads", f"runtime {only or 'any'}", *self._libraries)
        self._choices = self._read()

    def _read(self) -> dict[str, Choice]:
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as problem:
            log.warning("%s cannot be read (%s); the runtimes are measured again", self._path, problem)
            return {}
        if kept.machine != self._machine:
            log.info("hardware or libraries have changed; the runtimes are measured again")
            return {}
        return kept.choices

    def get(self, artifact: str) -> Choice | None:
        return self._choices.get(artifact)

    def is_due(self, artifact: str) -> bool:
        """Whether there is something to choose from, and nothing was chosen yet."""
        return self._open and artifact not in self._choices

    def find(self, artifact: str, folder: Path, budget: Budget, interrupted: Callable[[], bool]) -> Choice:
        """What was chosen for the artifact in `folder`, or is chosen now. Raises ChildStoppedError when interrupted."""
        known = self.get(artifact)
        if known is not None:
            return known
        if not self._open:
            return Choice(threads=budget.threads)
        return selection.choose(
            folder, threads=self._threads, memory=budget.memory, only=self._only, interrupted=interrupted
        )

    def keep(self, artifact: str, choice: Choice) -> None:
        """Remember it. A disk that does not take it costs one more measurement after the next start."""
        self._choices.pop(artifact, None)
        self._choices[artifact] = choice
        while len(self._choices) > MOST:
            del self._choices[next(iter(self._choices))]
        try:
            write_atomically(self._path, msgspec.json.encode(_Kept(self._machine, self._choices)))
        except OSError as problem:
            log.warning("the choice of a runtime cannot be kept: %s", problem)
