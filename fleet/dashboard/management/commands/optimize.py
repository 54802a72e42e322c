"""`manage.py optimize`: from a model file to the best variant for a device class, without a server or its database."""

import contextlib
import json
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import msgspec
from django.core.management.base import BaseCommand, CommandError
from django.template.loader import render_to_string

from agent.inference import policy_card
from agent.inference.policy_card import CardError
from agent.wire.hardware import DeviceClass
from fleet.catalog.services import EVALUATORS
from fleet.dashboard.pareto import Box, Point, box_of
from fleet.dashboard.selectors.trials import ordered, shown_as
from fleet.dashboard.selectors.versions import ClassWork, by_class
from fleet.optimizer import intake, verdict
from fleet.optimizer.contract import BUDGETS, Outcome, Request, constraints
from fleet.optimizer.errors import OptimizerError, RecipeError
from fleet.optimizer.recipe import Goal, recipe_for
from fleet.optimizer.search import optimize
from fleet.settings import BASE_DIR

STYLES = ("tokens.css", "base.css", "layout.css", "parts.css", "data.css")


class Command(BaseCommand):
    help = (
        "Make the best variant of a .pt2 or .onnx file (or a zip of one with its external data) for a device class. "
        "Writes variant.onnx, report.json and report.html. Ends with 0 when there is something to release (the "
        "original counts), else with 1 and a sentence."
    )
    requires_system_checks = ()  # needs no database

    def add_arguments(self, parser):
        parser.add_argument("file", type=Path)
        parser.add_argument("--class", dest="device_class", choices=[str(each) for each in DeviceClass], required=True)
        parser.add_argument("--out", type=Path, required=True, help="folder for what is made")
        parser.add_argument("--card", type=Path, help="the policy card")
        parser.add_argument("--evaluation", type=Path, help=".npz or safetensors of real inputs")
        parser.add_argument("--evaluator", help=f"{', '.join(sorted(EVALUATORS))}, or an installed module:function")
        parser.add_argument("--budget", choices=sorted(BUDGETS), default="quick")
        parser.add_argument("--goal", choices=get_args(Goal), default="balanced")
        parser.add_argument("--compression", type=float, help="0.1 to 0.9; the class's own when left out")
        parser.add_argument("--bits", type=int, help="8, 16 or 32")
        parser.add_argument("--pruning", type=float, help="0.1 to 0.5")
        parser.add_argument(
            "--part",
            action="append",
            default=[],
            metavar="NAME:bits=16,pruning=0.1",
            help="other bits or pruning for a part that the card names; may be repeated",
        )
        parser.add_argument("--max-loss", type=float, help="points of success; 2 when left out")
        parser.add_argument("--max-latency", type=float, help="ms; the card's deadline when left out")
        parser.add_argument("--max-bytes", type=int, help="of the file; no limit when left out")
        parser.add_argument("--max-memory", type=int, help="bytes; half of what the class has when left out")
        parser.add_argument("--cache", type=Path, help="folder that searches share, for what was measured before")

    def handle(self, **given):
        try:
            with _terminable():
                _prepare(given["out"])
                with tempfile.TemporaryDirectory(prefix="edgefleet-") as work:
                    outcome = optimize(_request(given, Path(work)), Path(work), self._show)
                    self._clear()
                    _keep(outcome, given)
        except KeyboardInterrupt:
            self._clear()
            hint = "" if given["cache"] else "; with --cache FOLDER what was measured would have been kept"
            raise CommandError(f"stopped before it was done{hint}", returncode=130) from None
        except OSError as problem:
            self._clear()
            raise CommandError(f"{problem.filename or ''}: {problem.strerror or problem}".lstrip(": ")) from problem
        except (OptimizerError, CardError, ValueError) as problem:
            self._clear()
            raise CommandError(str(problem)) from problem
        self._print(outcome)
        if outcome.winner is None:
            raise CommandError(outcome.summary)

    def _show(self, share: float, text: str) -> None:
        line = f"{100 * share:3.0f} %  {text[:100]}"
        if sys.stderr.isatty():
            self.stderr.write(f"\r{line}\x1b[K", ending="", style_func=str)
        elif text != getattr(self, "_last", ""):
            self.stderr.write(line, style_func=str)
        self._last = text
        self.stderr.flush()

    def _clear(self) -> None:
        if sys.stderr.isatty():
            self.stderr.write("\r\x1b[K", ending="", style_func=str)

    def _print(self, outcome: Outcome) -> None:
        self.stdout.write(f"{'trial':36} {'verdict':8} {'KiB':>8} {'p50 ms':>7} {'x orig.':>7} {'success':>8}  reason")
        base = outcome.trials[0].figures.get("p50_ms", 0)
        for trial in outcome.trials:
            figures = trial.figures
            ratio = figures.get("ratio_p50", 0) if figures.get("p50_ms") else 0
            success = f"{100 * figures['success']:.1f} %" if "success" in figures else ""
            self.stdout.write(
                f"{trial.name:36} {trial.verdict:8} {figures.get('bytes', 0) / 1024:8.0f} "
                # Timed in turn with the original: milliseconds of two trials are of two moments.
                f"{base * ratio:7.2f} {ratio:7.2f} {success:>8}  {trial.reason}"
            )
        self.stdout.write(outcome.summary)


def _request(given: dict[str, Any], work: Path) -> Request:
    source, device_class = given["file"].resolve(), DeviceClass(given["device_class"])
    evaluator = given["evaluator"]
    if evaluator and not given["card"]:
        raise RecipeError("an evaluator needs the policy card, which says what the model sees and does: add --card")
    card = given["card"].read_bytes() if given["card"] else None
    return Request(
        source=str(source),
        format=intake.accept(source, source.name).format,
        device_class=device_class,
        recipe=recipe_for(
            device_class,
            given["goal"],
            compression=given["compression"],
            bits=given["bits"],
            pruning=given["pruning"],
            parts=dict(_part(each) for each in given["part"]),
            known=policy_card.read(card).parts if card else (),
        ),
        cache=str(given["cache"] or work / "cache"),
        card=card,
        evaluation=str(given["evaluation"].resolve(strict=True)) if given["evaluation"] else None,
        evaluator=EVALUATORS.get(evaluator, evaluator),
        budget=BUDGETS[given["budget"]],
        constraints=constraints(
            max_loss_points=given["max_loss"],
            max_latency_ms=given["max_latency"],
            max_bytes=given["max_bytes"],
            max_memory_bytes=given["max_memory"],
        ),
    )


def _part(words: str) -> tuple[str, dict[str, float]]:
    """`vision:bits=16,pruning=0.1` as its name and its settings. Raises RecipeError."""
    name, _, settings = words.partition(":")
    try:
        pairs = dict(each.split("=") for each in settings.split(","))
        return name, {key: {"bits": int, "pruning": float}[key](value) for key, value in pairs.items()}
    except (KeyError, ValueError) as problem:
        raise RecipeError(f"--part takes NAME:bits=16,pruning=0.1, not {words!r}") from problem


@contextlib.contextmanager
def _terminable():
    """A search that is told to end cleans up as one that is interrupted."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _prepare(out: Path) -> None:
    """The folder, with nothing of an earlier run; what cannot be written is found before the search."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("variant.onnx", "card.json", "golden.npz", "report.json", "report.html"):
        (out / name).unlink(missing_ok=True)
    with tempfile.TemporaryFile(dir=out):
        pass


def _keep(outcome: Outcome, given: dict[str, Any]) -> None:
    """variant.onnx with what a device needs beside it, the report, and the page."""
    out: Path = given["out"]
    won = next((trial for trial in outcome.trials if trial.verdict == "won"), None)
    if won is not None and won.artifact is not None:
        shutil.copyfile(Path(won.artifact) / "model.onnx", out / "variant.onnx")
        for name in ("card.json", "golden.npz"):
            if (Path(won.artifact) / name).exists():
                shutil.copyfile(Path(won.artifact) / name, out / name)
    told = msgspec.to_builtins(outcome)
    for trial in told["trials"]:
        del trial["artifact"]  # a folder of the cache
    told |= {"device_class": given["device_class"], "budget": given["budget"]}
    (out / "report.json").write_text(json.dumps(told, indent=2) + "\n")
    (out / "report.html").write_text(page(outcome, given["file"].name, given["device_class"]))


# --- The page -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mark:
    """One trial in the drawing, which is 250 wide and 100 high: its middle, its interval's ends, how large it is."""

    point: Point
    x: float
    y: float
    top: float
    bottom: float
    radius: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """What the dashboard's chart shows, for a page without scripts. A line that lies outside is None."""

    marks: list[Mark]
    box: Box
    limit: float | None
    gate: float | None


def page(outcome: Outcome, name: str, device_class: str) -> str:
    """One file that a browser shows without anything else: the trade-off, and every trial with all that is known."""
    trials = [
        replace(shown_as(trial, number, device_class), gates=outcome.gates)
        for number, trial in enumerate(outcome.trials, 1)
    ]
    (work,) = by_class(ordered(trials))
    return render_to_string(
        "models/report.html",
        {
            "styles": "\n".join((BASE_DIR / "static/css" / each).read_text() for each in STYLES),
            "outcome": outcome,
            "name": name,
            "device_class": device_class,
            "work": work,
            "limit_ms": work.limit_ms(verdict.DEADLINE_MS),
            "drawing": _drawing(work),
        },
    )


def _drawing(work: ClassWork) -> Drawing | None:
    points, limit = work.points, work.limit_ms(verdict.DEADLINE_MS)
    if not points:
        return None
    box = box_of(points, limit, work.gate)

    def across(latency: float) -> float:
        return 250 * (latency - box.left) / (box.right - box.left)

    def down(quality: float) -> float:
        return 100 * (box.high - quality) / (box.high - box.low)

    most = max(point.size or 0 for point in points) or 1
    marks = [
        Mark(
            point,
            across(point.latency),
            down(point.quality),
            down(point.quality if point.high is None else point.high),
            down(point.quality if point.low is None else point.low),
            1.2 + 2.4 * ((point.size or 0) / most) ** 0.5,
        )
        for point in points
    ]
    return Drawing(
        marks, box, across(limit) if limit < box.right else None, None if work.gate is None else down(work.gate.least)
    )
