"""The search: candidates are made and measured one after the other in confined children, judged, and one of them wins.

What the same work has measured before is taken from the cache: a trial's key is a hash of everything that decides its
outcome (the upload, the card, the evaluation, the techniques, the budget and the versions of the tools), so that the
second class uses again what the first had measured.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agent.inference import policy_card
from fleet.optimizer import sandbox, verdict
from fleet.optimizer.confine import Limits as ChildLimits
from fleet.optimizer.contract import Outcome, Request, Trial
from fleet.optimizer.errors import OptimizerError, SandboxError
from fleet.optimizer.evaluation import Figures
from fleet.optimizer.make import Made, MakeRequest, MakeResult, Variation
from fleet.optimizer.measure import MeasureRequest, MeasureResult
from fleet.optimizer.recipe import ORIGINAL, Candidate, Facts, candidates, why_not

T = TypeVar("T")
OnProgress = Callable[[float, str], None]
IsCancelled = Callable[[], bool]

TOOLS = ("numpy", "onnx", "onnxruntime", "onnxscript", "onnxslim", "torch")
#: Raised when the code of this package changes what a trial measures.
REVISION = 1
SEED = 0


def optimize(
    request: Request,
    work: Path,
    on_progress: OnProgress = lambda share, text: None,
    cancelled: IsCancelled = lambda: False,
) -> Outcome:
    """Make and measure every candidate of the request's recipe. `work` is an empty folder that the caller deletes.

    Raises Cancelled within a second once `cancelled()` is true, IntakeError or SandboxError (with a sentence) when not
    even the original can be made and measured. A candidate that breaks is a failed trial, and no error.
    """
    return _Search(request, work, on_progress, cancelled).run()


@dataclass(slots=True)
class _Tried:
    """A candidate on its way to a trial."""

    candidate: Candidate
    key: str
    base: str
    error: str = ""
    hopeless: str = ""
    figures: Figures | None = None


class _Search:
    def __init__(self, request: Request, work: Path, on_progress: OnProgress, cancelled: IsCancelled) -> None:
        self.request, self.work, self.on_progress, self.cancelled = request, work, on_progress, cancelled
        self.log: list[str] = []
        self.cache = Path(request.cache).resolve()
        self.context = self._context()
        self.limits = self._limits()

    def run(self) -> Outcome:
        began = time.monotonic()
        self.cache.mkdir(parents=True, exist_ok=True)
        facts = self._original()
        wanted = candidates(self.request.recipe, facts, self.request.budget.distillation_steps)
        self.log += why_not(self.request.recipe, facts)
        tried = [_Tried(each, self._key(each), self._base_key(each)) for each in wanted]
        self._make_bases(tried)
        for number, each in enumerate(tried):
            if number and time.monotonic() - began > 60 * self.request.budget.minutes:
                each.error = f"The budget of {self.request.budget.minutes:g} minutes was used up before its turn."
            elif not each.error:
                self._measure(each, tried[0], 0.3 + 0.7 * number / len(tried), 0.7 / len(tried))
        return self._judge(tried)

    # --- What identifies a piece of work ---

    def _context(self) -> dict[str, Any]:
        return {
            "source": _digest_of(Path(self.request.source)),
            "card": hashlib.sha256(self.request.card).hexdigest() if self.request.card else "",
            "evaluation": _digest_of(Path(self.request.evaluation)) if self.request.evaluation else "",
            "evaluator": self.request.evaluator or "",
            "seed": SEED,
            "revision": REVISION,
            "tools": {name: version(name) for name in TOOLS},
        }

    def _base_key(self, candidate: Candidate) -> str:
        return _hash(self.context, candidate.program)

    def _key(self, candidate: Candidate) -> str:
        budget, asked = self.request.budget, self.request.constraints
        work = (budget.episodes, budget.screen_episodes, budget.rounds, asked.min_cosine, asked.max_loss_points)
        return _hash(self._base_key(candidate), candidate.file, work)

    def _limits(self) -> verdict.Limits:
        deadline = verdict.DEADLINE_MS
        if self.request.card:
            deadline = policy_card.read(self.request.card).deadline_ms
        return verdict.Limits.of(self.request.constraints, self.request.device_class, deadline)

    # --- Making ---

    def _original(self) -> Facts:
        """Make the original, and learn from it what can be done to the others."""
        base = self._base_key(ORIGINAL)
        made = self._cached(base, Made, "made.json")
        if made is None:
            made = self._make([(base, Variation(out=""))], 0.0, 0.1)[0]
        informed = bool(self.request.evaluation or self.request.evaluator)
        return Facts(format=self.request.format, blocks=made.facts.feed_forward, informed=informed)

    def _make_bases(self, tried: Sequence[_Tried]) -> None:
        """One child makes every program that is not in the cache: the upload is loaded once."""
        missing: dict[str, Variation] = {}
        for each in tried:
            if self._cached(each.base, Made, "made.json") is None:
                missing[each.base] = Variation(out="", passes=each.candidate.program)
        if missing:
            self._make(list(missing.items()), 0.1, 0.2)
        for each in tried:
            made = self._cached(each.base, Made, "made.json")
            if made is not None and made.error:
                each.error = made.error

    def _make(self, wanted: Sequence[tuple[str, Variation]], begin: float, span: float) -> list[Made]:
        folder = self.work / f"make-{wanted[0][0][:12]}"
        samples = folder / "samples.npz"
        request = MakeRequest(
            source=str(Path(self.request.source).resolve()),
            format=self.request.format,
            samples=str(samples),
            variations=tuple(msgspec.structs.replace(each, out=str(folder / key)) for key, each in wanted),
            card=self._card(),
            evaluation=str(Path(self.request.evaluation).resolve()) if self.request.evaluation else None,
            evaluator=self.request.evaluator,
            seed=SEED,
        )
        result = self._child("fleet.optimizer.make", request, folder, MakeResult, begin, span)
        self.log += [note for note in result.notes if note not in self.log]
        for (key, _), made in zip(wanted, result.made, strict=True):
            made_folder = folder / key
            made_folder.mkdir(exist_ok=True)
            (made_folder / "made.json").write_bytes(msgspec.json.encode(made))
            shutil.copyfile(samples, made_folder / "samples.npz")
            self._keep(made_folder, key)
        return result.made

    # --- Measuring ---

    def _measure(self, each: _Tried, original: _Tried, begin: float, span: float) -> None:
        found = self._cached(each.key, MeasureResult, "result.json")
        if found is None:
            base = self.cache / each.base
            out = self.work / f"out-{each.key}"
            request = MeasureRequest(
                base=str(base / "model.onnx"),
                samples=str(base / "samples.npz"),
                out=str(out),
                passes=each.candidate.file,
                original=None if each is original else str(self.cache / original.key),
                card=self._card(),
                evaluator=self.request.evaluator,
                budget=self.request.budget,
                min_cosine=self.request.constraints.min_cosine,
                max_loss_points=self.request.constraints.max_loss_points,
            )
            self.on_progress(begin, f"{each.candidate.name}: measuring")
            folder = self.work / f"measure-{each.key[:12]}"
            try:
                found = self._child(
                    "fleet.optimizer.measure", request, folder, MeasureResult, begin, span, each.candidate.name
                )
            except SandboxError as problem:
                if each is original:
                    raise
                each.error = str(problem)
                return
            (out / "result.json").write_bytes(msgspec.json.encode(found))
            self._keep(out, each.key)
        else:
            self.on_progress(begin, f"{each.candidate.name}: measured before")
        self.log += [f"{each.candidate.name}: {note}" for note in found.notes]
        each.figures, each.hopeless = found.figures, found.hopeless

    # --- Judging ---

    def _judge(self, tried: Sequence[_Tried]) -> Outcome:
        original = tried[0].figures
        if original is None:
            raise OptimizerError(f"the original could not be measured: {tried[0].error}")
        trials = {each.candidate.name: self._trial(each, each is tried[0]) for each in tried}
        scores: dict[str, float] = {}
        for each in tried:
            trial = trials[each.candidate.name]
            if trial.verdict == "passed" and each.figures is not None:
                scores[trial.name] = trial.score = verdict.score(each.figures, original, self.limits)
        winner = min(scores, key=lambda name: scores[name]) if scores else None
        for each in tried:
            trial = trials[each.candidate.name]
            if trial.verdict != "passed" or winner is None or each.figures is None:
                continue
            if trial.name == winner:
                trial.verdict = "won"
                trial.reason = verdict.why_won(winner, scores, each.figures, original)
            else:
                trial.reason = verdict.why_passed(trial.name, winner, scores, each.figures, original)
        lost = sum(trial.verdict in ("lost", "failed") for trial in trials.values())
        summary = (
            f"{winner} won; {len(scores)} of {len(trials)} candidates passed, {lost} did not."
            if winner
            else f"Not even the original passes: {trials['original'].reason}"
        )
        return Outcome(
            trials=list(trials.values()), winner=winner, summary=summary, lineage=self._lineage(), log=self.log
        )

    def _trial(self, each: _Tried, original: bool) -> Trial:
        trial = Trial(
            name=each.candidate.name,
            key=each.key,
            recipe={
                "original": original,
                "program": msgspec.to_builtins(each.candidate.program),
                "file": msgspec.to_builtins(each.candidate.file),
                "wanted": msgspec.to_builtins(self.request.recipe),
            },
        )
        if each.figures is None:
            trial.reason = each.error
            return trial
        trial.figures = msgspec.to_builtins(each.figures)
        trial.reason = each.hopeless or verdict.refusal(each.figures, self.limits, original=original)
        trial.verdict = "lost" if trial.reason else "passed"
        if trial.verdict == "passed":
            trial.artifact = str(self.cache / each.key)
        return trial

    def _lineage(self) -> dict[str, Any]:
        return {**self.context, "recipe": msgspec.to_builtins(self.request.recipe)}

    # --- Children and cache ---

    def _child(
        self,
        module: str,
        request: msgspec.Struct,
        folder: Path,
        kind: type[T],
        begin: float,
        span: float,
        name: str = "",
    ) -> T:
        prefix = f"{name}: " if name else ""
        finished = sandbox.run(
            module,
            request,
            folder,
            limits=ChildLimits(wall_seconds=max(60.0, 60 * self.request.budget.minutes)),
            on_progress=lambda share, text: self.on_progress(begin + span * share, prefix + text),
            cancelled=self.cancelled,
        )
        self.log += [note for note in finished.notes if note not in self.log]
        return msgspec.convert(finished.result, kind)

    def _card(self) -> str | None:
        if self.request.card is None:
            return None
        path = self.work / "card.json"
        if not path.exists():
            path.write_bytes(self.request.card)
        return str(path)

    def _cached(self, key: str, kind: type[T], name: str) -> T | None:
        try:
            return msgspec.json.decode((self.cache / key / name).read_bytes(), type=kind)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _keep(self, folder: Path, key: str) -> None:
        """Into the cache by one rename: a folder that is there is whole. One that was made meanwhile is as good."""
        try:
            os.rename(folder, self.cache / key)
        except OSError:
            if not (self.cache / key).is_dir():
                shutil.copytree(folder, self.cache / f".{key}-{os.getpid()}")
                os.rename(self.cache / f".{key}-{os.getpid()}", self.cache / key)


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash(*parts: object) -> str:
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()
