"""The artifact that decides, and the watch over a new one."""

import logging

from agent import footprint
from agent.deployment.choices import Choices
from agent.deployment.store import Store
from agent.inference import inference_engine
from agent.inference.inference_engine import InferenceEngine, LoadedModel
from agent.inference.meter import Meter
from agent.inference.runtimes import DEFAULT
from agent.inference.selection import Choice

log = logging.getLogger(__name__)


class Running:
    """Used by the update machine's thread alone, but for `threads` and `lean`, which any thread may set.

    threads is how many a decision is to have, from the next load on; `rethread` loads what runs anew for it. lean:
    after a load, let go of what only the load needed.
    """

    def __init__(self, store: Store, engine: InferenceEngine, threads: int, choices: Choices) -> None:
        self._store = store
        self._engine = engine
        self.threads = threads
        self.lean = False
        #: Bytes that the manifest of the model loaded last says that it takes.
        self.memory = 0
        self._loaded_for: tuple[LoadedModel | None, int] = (None, threads)
        #: Threads with which what runs could not be loaded; 0: none.
        self._refused = 0
        self._choices = choices
        self._meter: Meter | None = None

    @property
    def anything(self) -> bool:
        return self._engine.model is not None

    @property
    def in_step(self) -> bool:
        """Whether what decides has the threads that it is to have; so has nothing."""
        running = self._engine.model
        model, threads = self._loaded_for
        if running is None or model is None:
            return running is None
        chosen = self._choices.get(model.artifact)
        same = threads == self.threads or (chosen is not None and model.threads == min(chosen.threads, self.threads))
        return running is model and same

    @property
    def behind(self) -> bool:
        """Whether `rethread` has something to do: not in step, and not in vain before."""
        return not self.in_step and self.threads != self._refused

    def rethread(self) -> None:
        """Load what runs with the threads wanted, beside it, and swap between two requests.

        Whoever counts goes on counting: it is the same model. One that does not load again goes on as it is.
        """
        running, threads = self._engine.model, self.threads
        if running is None:
            return
        try:
            self._engine.swap(self.load(running.artifact))
        except Exception as problem:
            self._refused = threads
            log.error("what runs keeps its threads, it does not load with %d: %s", threads, problem)
            return
        self._refused = 0
        self._give_back()
        log.info("decisions have %d threads now", threads)

    def load(self, digest: str) -> LoadedModel:
        """An installed artifact, every byte checked first, as was chosen for it. Raises whatever keeps it from loading.

        A runtime that does not load it any more gives way to the default one.
        """
        manifest = self._store.manifest(digest)
        if not self._store.installed(digest, manifest):
            raise OSError(f"the installed artifact {digest[:12]} is damaged on the disk")
        threads = self.threads
        choice = self._choices.get(digest) or Choice(threads=threads)

        def loaded(choice: Choice) -> LoadedModel:
            return inference_engine.load(
                self._store.artifact(digest),
                digest,
                threads=min(choice.threads, threads),
                deadline_ms=manifest.deadline_ms,
                name=manifest.model,
                version=manifest.version,
                backend=choice.backend,
            )

        try:
            model = loaded(choice)
        except Exception as problem:
            if choice.backend == DEFAULT:
                raise
            log.error("%s does not load %s any more: %s", choice, digest[:12], problem)
            model = loaded(self.distrust(digest))
        self._loaded_for, self.memory = (model, threads), manifest.memory_bytes
        return model

    def distrust(self, digest: str) -> Choice:
        """The default runtime for an artifact from now on: what was chosen for it may be what ended the agent."""
        choice = Choice(threads=self.threads)
        chosen = self._choices.get(digest)
        if chosen is not None and chosen.backend != DEFAULT:
            self._choices.keep(digest, choice)
        return choice

    def try_load(self, digest: str) -> LoadedModel | None:
        try:
            return self.load(digest)
        except Exception as problem:
            log.error("the artifact %s does not load: %s", digest[:12], problem)
            return None

    def swap(self, model: LoadedModel | None, watched: bool = False) -> None:
        """Let `model` decide from the next request on; if it is watched, its decisions alone are counted."""
        self.end_watch()
        self._meter = Meter(local_only=True) if watched else None
        self._engine.swap(model, watched_by=self._meter)
        self._give_back()

    def _give_back(self) -> None:
        footprint.give_back()
        if self.lean:
            footprint.let_go()

    def watch(self) -> Meter:
        """The counters of the watch; one that was left begins anew."""
        if self._meter is None:
            self._meter = Meter(local_only=True)
            self._engine.attach(self._meter)
        return self._meter

    def end_watch(self) -> None:
        if self._meter is not None:
            self._engine.detach(self._meter)
            self._meter = None
