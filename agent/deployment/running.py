"""The artifact that decides, and the watch over a new one."""

import contextlib
import ctypes
import logging

from agent.deployment.store import Store
from agent.inference import inference_engine
from agent.inference.inference_engine import InferenceEngine, LoadedModel
from agent.inference.meter import Meter

log = logging.getLogger(__name__)


def give_back_memory() -> None:
    """Hand what the old model had to the system. glibc would keep it: 19 MB more with each swap of 20 MB models."""
    with contextlib.suppress(AttributeError, OSError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


class Running:
    """Used by the update machine's thread alone."""

    def __init__(self, store: Store, engine: InferenceEngine, threads: int) -> None:
        self._store = store
        self._engine = engine
        self._threads = threads
        self._meter: Meter | None = None

    @property
    def anything(self) -> bool:
        return self._engine.model is not None

    def load(self, digest: str) -> LoadedModel:
        """An installed artifact, every byte checked first. Raises whatever keeps it from loading."""
        manifest = self._store.manifest(digest)
        if not self._store.installed(digest, manifest):
            raise OSError(f"the installed artifact {digest[:12]} is damaged on the disk")
        return inference_engine.load(
            self._store.artifact(digest),
            digest,
            threads=self._threads,
            deadline_ms=manifest.deadline_ms,
            name=manifest.model,
            version=manifest.version,
        )

    def try_load(self, digest: str) -> LoadedModel | None:
        try:
            return self.load(digest)
        except Exception as problem:
            log.error("the artifact %s does not load: %s", digest[:12], problem)
            return None

    def swap(self, model: LoadedModel | None, watched: bool = False) -> None:
        """Let `model` decide from the next request on; if it is watched, its decisions alone are counted."""
        self.end_watch()
        self._meter = Meter() if watched else None
        self._engine.swap(model, watched_by=self._meter)
        give_back_memory()

    def watch(self) -> Meter:
        """The counters of the watch; one that was left begins anew."""
        if self._meter is None:
            self._meter = Meter()
            self._engine.attach(self._meter)
        return self._meter

    def end_watch(self) -> None:
        if self._meter is not None:
            self._engine.detach(self._meter)
            self._meter = None
