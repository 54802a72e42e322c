"""The search for the best variant: make what is missing, measure each candidate in a confined child, judge, choose.

1. Accept the upload by its content; name every piece of work by what it depends on.
2. One child reads the upload and makes every changed program that is not in the cache yet.
3. One child for each candidate measures it against the original: cheap figures first, so that hopeless ones end early.
4. Gates, then the objective. Nothing that is both slower and less faithful than the original is ever released.

The parent imports neither torch nor onnx.
"""

import hashlib
import os
import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agent.inference import policy_card
from fleet.optimizer import intake, sandbox, verdict
from fleet.optimizer.cache import Cache, digest_of, evaluator_source, key_of, processor, tools
from fleet.optimizer.confine import Limits as ChildLimits
from fleet.optimizer.contract import Outcome, Request, Trial
from fleet.optimizer.errors import Cancelled, OptimizerError, SandboxError
from fleet.optimizer.evaluation import Figures
from fleet.optimizer.make import Made, MakeRequest, MakeResult, Variation
from fleet.optimizer.measure import MeasureRequest, MeasureResult
from fleet.optimizer.recipe import Candidate, Facts, ProgramPass, candidates, why_not
from fleet.optimizer.sandbox import IsCancelled, OnProgress

T = TypeVar("T")

SEED = 0
#: Percent of this machine's memory that a child may use.
_MEMORY_SHARE, _PHYSICAL = 60, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
#: What making takes of a search, about.
MAKING = 0.5


def optimize(
    request: Request,
    work: Path,
    on_progress: OnProgress = lambda share, text: None,
    cancelled: IsCancelled = lambda: False,
) -> Outcome:
    """Search for the best variant of an upload for one device class. `work` is scratch; artifacts stay in the cache.

    Raises IntakeError when the upload is not accepted, SandboxError when the original itself cannot be made or
    measured, Cancelled once `cancelled()` is true. What goes wrong with a candidate becomes its trial's reason.
    """
    work = work.resolve()  # children have another working directory
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix="search-") as scratch:
        return _Search(request, Path(scratch), on_progress, cancelled).run()


class _Search:
    def __init__(self, request: Request, work: Path, on_progress: OnProgress, cancelled: IsCancelled) -> None:
        self._request, self._work = request, work
        self._on_progress, self._cancelled = on_progress, cancelled
        self._cache = Cache(Path(request.cache))
        self._begun = time.monotonic()
        self._log: list[str] = []
        self._making_failed: dict[str, str] = {}
        card = policy_card.read(request.card) if request.card else None
        self._facts = Facts(
            request.format,
            informed=bool(request.evaluation or (request.evaluator and card)),
            episodes=bool(request.evaluator and card),
            parts=card.parts if card else {},
        )
        self._candidates = candidates(
            request.recipe, self._facts, request.budget.distillation_steps, thorough=request.budget.thorough
        )[: request.budget.trials]
        self._deadline_ms = card.deadline_ms if card else verdict.DEADLINE_MS
        self._card: str | None = None
        if request.card:
            (work / "card.json").write_bytes(request.card)
            self._card = str(work / "card.json")
        self._lineage = self._trace()

    def run(self) -> Outcome:
        for reason in why_not(self._facts):
            self._note(reason)
        self._make()
        trials, figures = [], []
        for number, candidate in enumerate(self._candidates):
            begin = MAKING + (1 - MAKING) * number / len(self._candidates)
            trial, measured = self._try(candidate, begin)
            trials.append(trial)
            figures.append(measured)
        return self._choose(trials, figures)

    def _make(self) -> None:
        """Make every changed program that some candidate still needs, in one child: it loads the upload once."""
        waiting = [each for each in self._candidates if self._cache.find(self._trial_key(each)) is None]
        programs = dict.fromkeys(each.program for each in waiting)
        missing = [passes for passes in programs if self._cache.find(self._model_key(passes)) is None]
        if not missing:
            return
        try:
            self._make_programs(missing)
        except SandboxError as problem:
            if missing == [()]:
                raise
            # One of them took the child along; the original must not suffer for it.
            self._note(f"The changed models could not be made: {problem}.")
            self._making_failed = {self._model_key(passes): str(problem) for passes in missing if passes}
            if () in missing:
                self._make_programs([()])

    def _make_programs(self, missing: list[tuple[ProgramPass, ...]]) -> None:
        self._note(f"Making {len(missing)} model{'s' if len(missing) > 1 else ''} from the upload.")
        samples = self._work / "samples.npz"
        request = MakeRequest(
            source=str(Path(self._request.source).resolve()),
            format=self._request.format,
            samples=str(samples),
            variations=tuple(
                Variation(out=str(self._work / f"made-{len(missing)}-{number}"), passes=passes)
                for number, passes in enumerate(missing)
            ),
            card=self._card,
            evaluation=str(Path(self._request.evaluation).resolve()) if self._request.evaluation else None,
            evaluator=self._request.evaluator,
            seed=SEED,
        )
        result = self._child("fleet.optimizer.make", request, MakeResult, 0.0, MAKING)
        for note in result.notes:
            self._note(note)
        for passes, variation, made in zip(missing, request.variations, result.made, strict=True):
            self._keep_model(passes, Path(variation.out), made, samples)

    def _keep_model(self, passes: tuple[ProgramPass, ...], folder: Path, made: Made, samples: Path) -> None:
        key = self._model_key(passes)
        if made.error:
            self._making_failed[key] = made.error
            return
        shutil.copyfile(samples, folder / "samples.npz")
        self._cache.keep(key, folder, made)
        for note in made.facts.notes:
            self._note(note)
        for block in made.facts.blocks:
            self._note(
                f"{block['name']}: {block['kept']} of {block['channels']} channels stay, "
                f"relative error {block['error']:.4f}"
            )

    def _try(self, candidate: Candidate, begin: float) -> tuple[Trial, Figures | None]:
        """Measure one candidate, or find it measured. Without figures, the trial has failed and says why."""
        key = self._trial_key(candidate)
        trial = Trial(name=candidate.name, key=key, recipe=_recipe(candidate), lineage=dict(self._lineage))
        end = begin + (1 - MAKING) / len(self._candidates)
        self._on_progress(begin, f"{candidate.name}")
        found = self._cache.find(key)
        if found is None:
            try:
                found = self._measure(candidate, key, begin, end)
            except Cancelled:
                raise
            except OptimizerError as problem:
                if candidate.original:
                    raise
                trial.reason = f"It failed: {str(problem).rstrip('.')}."
                return trial, None
        result = msgspec.json.decode((found / "done.json").read_bytes(), type=MeasureResult)
        trial.figures = {
            name: value for name, value in msgspec.to_builtins(result.figures).items() if value is not None
        }
        trial.lineage |= {"measured_at": result.at, "machine": result.machine}
        trial.artifact = str(found)
        for note in result.notes:
            self._note(f"{candidate.name}: {note}")
        if result.hopeless:
            trial.verdict, trial.reason, trial.artifact = "lost", result.hopeless, None
            return trial, None
        return trial, result.figures

    def _measure(self, candidate: Candidate, key: str, begin: float, end: float) -> Path:
        model_key = self._model_key(candidate.program)
        if model_key in self._making_failed:
            raise OptimizerError(self._making_failed[model_key])
        minutes = (time.monotonic() - self._begun) / 60
        if minutes > self._request.budget.minutes and not candidate.original:
            raise OptimizerError(f"it was not tried, because the {self._request.budget.minutes:g} minutes were used up")
        base = self._cache.find(model_key)
        if base is None:
            raise OptimizerError("its model was not made")
        original = None if candidate.original else self._cache.find(self._trial_key(self._candidates[0]))
        out = self._work / key[:16]
        request = MeasureRequest(
            base=str((base / "model.onnx").resolve()),
            samples=str((base / "samples.npz").resolve()),
            out=str(out),
            passes=candidate.file,
            original=None if original is None else str(original.resolve()),
            card=self._card,
            evaluator=self._request.evaluator,
            budget=self._request.budget,
            min_cosine=self._min_cosine,
            max_loss_points=self._request.constraints.max_loss_points,
        )
        result = self._child("fleet.optimizer.measure", request, MeasureResult, begin, end, candidate.name)
        return self._cache.keep(key, out, result)

    def _choose(self, trials: list[Trial], figures: list[Figures | None]) -> Outcome:
        original = figures[0]
        if original is None:
            raise OptimizerError(f"nothing can be judged without the original: {trials[0].reason}")
        limits = verdict.Limits.of(
            self._request.constraints,
            self._request.device_class,
            self._request.recipe,
            deadline_ms=self._deadline_ms,
            episodes=self._episodes,
            original_bytes=original.bytes,
            out_of_range=original.out_of_range,
            weights=self._request.weights,
            thorough=self._request.budget.thorough,
        )
        winner = verdict.judge(trials, figures, limits)
        words = f"{self._request.device_class.replace('_', ' ')} devices"
        summary = f"Nothing passes the gates for {words}: {trials[0].reason}"
        if winner is not None:
            summary = f"{winner.name} won for {words}. {winner.reason}"
        for trial in trials:
            self._note(f"{trial.name} {trial.verdict}: {trial.reason}")
        self._on_progress(1.0, summary)
        return Outcome(
            trials=trials,
            winner=winner.name if winner else None,
            summary=summary,
            lineage=self._lineage,
            gates=asdict(limits),
            log=self._log,
        )

    def _trace(self) -> dict[str, Any]:
        """Where a result comes from: what all keys of this search have in common."""
        request, source = self._request, Path(self._request.source)
        accepted = intake.accept(source, source.name)
        if accepted.format != request.format:
            raise OptimizerError(
                f"the upload is a .{accepted.format} model, not the .{request.format} it was stored as"
            )
        return {
            "input": accepted.digest,
            "card": hashlib.sha256(request.card).hexdigest() if request.card else "",
            "evaluation": digest_of(request.evaluation),
            "evaluator": request.evaluator or "",
            "evaluator_source": evaluator_source(request.evaluator) if request.evaluator else "",
            "tools": tools(),
            "processor": processor(),
            "seed": SEED,
        }

    def _model_key(self, passes: tuple[ProgramPass, ...]) -> str:
        return key_of({**self._lineage, "processor": "", "kind": "model", "passes": passes})

    def _trial_key(self, candidate: Candidate) -> str:
        budget = self._request.budget
        return key_of(
            {
                **self._lineage,
                "kind": "trial",
                "passes": [*candidate.program, *candidate.file],
                "budget": [budget.episodes, budget.screen_episodes, budget.rounds],
                "gates": [self._min_cosine, self._request.constraints.max_loss_points],
            }
        )

    @property
    def _episodes(self) -> bool:
        return bool(self._request.evaluator and self._card)

    @property
    def _min_cosine(self) -> float:
        return verdict.least_cosine(self._request.constraints, episodes=self._episodes)

    def _child(
        self, module: str, request: msgspec.Struct, kind: type[T], begin: float, end: float, name: str = ""
    ) -> T:
        """Run a confined child; its progress is that of this part of the search."""

        def heard(share: float, text: str) -> None:
            self._on_progress(begin + (end - begin) * share, f"{name}: {text}" if name else text)

        limits = ChildLimits(
            memory_bytes=_MEMORY_SHARE * _PHYSICAL // 100, wall_seconds=max(120.0, 60 * self._request.budget.minutes)
        )
        finished = sandbox.run(
            module, request, self._work / "child", limits=limits, on_progress=heard, cancelled=self._cancelled
        )
        for note in finished.notes:
            self._note(note)
        try:
            return msgspec.convert(finished.result, kind)
        except msgspec.ValidationError as problem:
            raise SandboxError(f"it gave a result that is none: {problem}") from problem

    def _note(self, text: str) -> None:
        """One line of the log, once."""
        if text not in self._log:
            self._log.append(text)


def _recipe(candidate: Candidate) -> dict[str, Any]:
    """What a trial did, by technique: `{"prune": {"share": 0.5, …}, "store": {"bits": 8}}`."""
    if candidate.original:
        return {"original": True}
    steps = [msgspec.to_builtins(config) for config in (*candidate.program, *candidate.file)]
    return {
        step["pass"]: {name: value for name, value in step.items() if name != "pass" and value != ()} for step in steps
    }
