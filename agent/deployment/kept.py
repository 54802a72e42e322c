"""What is kept over a power cut: the state on the disk, and the artifacts that it names."""

import contextlib
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from agent.deployment import trust
from agent.deployment.records import Attempt, Saved
from agent.deployment.store import Store

log = logging.getLogger(__name__)


class Kept:
    """`saved` is what is remembered now: any thread may read it, the update machine's alone changes it.

    on_change is called with it, whenever it changed.
    """

    def __init__(self, store: Store, on_change: Callable[[Saved], None]) -> None:
        self._store = store
        self._on_change = on_change
        self.saved = store.read_state()

    def save(self, saved: Saved | None = None, **changes: Any) -> None:
        """On disk first, then in memory and to the outside. Raises OSError when the disk does not take it."""
        saved = msgspec.structs.replace(saved or self.saved, **changes)
        if saved != self.saved:
            self._store.write_state(saved)
            self.saved = saved
            self._on_change(saved)

    def try_save(self, **changes: Any) -> None:
        """For counters: what they protect from is less bad than a device that does nothing because its disk is full."""
        try:
            self.save(None, **changes)
        except OSError as problem:
            log.error("the disk does not take the state: %s", problem)

    @property
    def artifacts(self) -> tuple[str, ...]:
        """What runs, and what ran before."""
        return tuple(each.manifest for each in (self.saved.active, self.saved.previous) if each)

    def tidy(self, attempt: Attempt | None) -> None:
        """What neither runs, nor ran before, nor is under way may go."""
        keep, fetching = self.artifacts, None
        if attempt is not None and attempt.open:
            keep = (*keep, attempt.manifest)
            with contextlib.suppress(trust.TrustError):  # it is not here yet
                fetching = self._store.manifest(attempt.manifest)
        self._store.claim("deployment", keep, fetching)
        self._store.collect()
