"""What the update machine wants of inference: to test an artifact, to run it, and to see how that goes.

A device has `running.Running` and `proving.Proving`. A light one (`agent.simulate`) has stand-ins that infer nothing,
and says so in what it reports.
"""

from collections.abc import Callable
from typing import Any, Protocol

from agent.deployment.outcome import Outcome, Tell
from agent.inference.meter import Meter


class Tests(Protocol):
    """The self-test of what was installed."""

    def is_due(self, digest: str) -> bool:
        """Whether what runs already is to be tested anew."""
        ...

    def test(self, digest: str, tell: Tell, interrupted: Callable[[], bool]) -> Outcome:
        """passed or broken, with figures. Raises InterruptedWaitError when it is not wanted any more."""
        ...


class Runs(Protocol):
    """The artifact that decides. A model is whatever `load` returns."""

    threads: int
    lean: bool
    memory: int

    @property
    def anything(self) -> bool: ...

    @property
    def in_step(self) -> bool: ...

    @property
    def behind(self) -> bool: ...

    def rethread(self) -> None: ...

    def load(self, digest: str) -> Any: ...

    def try_load(self, digest: str) -> Any: ...

    def distrust(self, digest: str) -> object: ...

    def swap(self, model: Any, watched: bool = False) -> None: ...

    def watch(self) -> Meter: ...

    def end_watch(self) -> None: ...
