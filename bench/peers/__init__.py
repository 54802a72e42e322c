"""The optimizer beside others', on published models and real inputs that neither has been made for.

Everyone calibrates on one half of the inputs and is judged on the other. Others run at their defaults, in an
environment of their own that is made here. What a model is for decides how its answers are compared: Silero whether it
hears speech, Magika which kind of file it sees, the detector where on a page there is text.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from agent.inference import runtimes
from agent.wire.hardware import DeviceClass
from bench.rows import Row, columns
from fleet.optimizer import benchmark, evaluation, onnx_file
from fleet.optimizer.contract import BUDGETS, Request
from fleet.optimizer.errors import PassError
from fleet.optimizer.evaluation import Figures
from fleet.optimizer.inputs import Feeds, read
from fleet.optimizer.recipe import recipe_for
from fleet.optimizer.search import optimize
from fleet.optimizer.verdict import SAME_SPEED

HERE = Path(__file__).parent
ENVIRONMENT = HERE.parents[1] / ".venv-bench"
SILERO = "silero-vad==6.2.3"
TOOLS = ("ort_dynamic", "ort_static", "nncf_static", "olive_dynamic", "olive_static")
OURS = "edgefleet"
#: A tool that takes longer has failed.
SECONDS = 600
ROUNDS = 40

Answers = list[dict[str, Any]]


def _class_of(one: Answers, other: Answers) -> float:
    both = zip(one, other, strict=True)
    return float(np.mean([a["target_label"].argmax() == b["target_label"].argmax() for a, b in both]))


def _speech(one: Answers, other: Answers) -> float:
    both = zip(one, other, strict=True)
    return float(np.mean([(a["output"] > 0.5).item() == (b["output"] > 0.5).item() for a, b in both]))


def _text(one: Answers, other: Answers) -> float:
    """Intersection over union of what is taken for text, with RapidOCR's own threshold."""
    mine, theirs = (np.stack([each["sigmoid_0.tmp_0"] for each in side]) > 0.3 for side in (one, other))
    return float((mine & theirs).sum() / max(1, (mine | theirs).sum()))


#: How alike two models' answers are, 0 … 1, and what that is called.
MODELS: dict[str, tuple[str, Callable[[Answers, Answers], float]]] = {
    "silero": ("same decision", _speech),
    "magika": ("same file type", _class_of),
    "detector": ("overlap of the text found", _text),
}


@dataclass(frozen=True, slots=True)
class Result:
    """What one tool made of one model; without figures, why it made nothing."""

    tool: str
    figures: Figures | None = None
    kept: float = 0.0
    reason: str = ""


def run() -> list[Row]:
    folder = Path(tempfile.mkdtemp(prefix="edgefleet-bench-"))
    try:
        return _compared(folder)
    finally:
        shutil.rmtree(folder)


def _compared(folder: Path) -> list[Row]:
    _install(folder)
    _in_environment(folder, "sets.py", str(folder), str(next(folder.glob("silero*.tar.gz"))))
    rows: list[Row] = []
    for name, (words, alike) in MODELS.items():
        model, judged = folder / f"{name}.onnx", _samples(folder / f"{name}.onnx", folder / f"{name}-judged.npz")
        results = [_judge(tool, model, _theirs(tool, folder, name), judged, alike) for tool in TOOLS]
        ours = _judge(OURS, model, _ours(folder, name), judged, alike)
        _say(_table(name, words, model.stat().st_size, [ours, *results]))
        rows += _rows(name, words, model.stat().st_size, ours, results)
    return rows


def _install(folder: Path) -> None:
    stamp, wanted = ENVIRONMENT / ".installed", (HERE / "requirements.txt").read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        _say("Installing what the optimizer is measured against (some GB, once) …")
        venv.create(ENVIRONMENT, with_pip=True)
        _pip("install", "--requirement", str(HERE / "requirements.txt"))
        stamp.write_text(wanted)
    # The model comes with its wheel, the recording only with its sources.
    _pip("download", "--no-deps", "--no-binary", "silero-vad", "--dest", str(folder), SILERO)


def _pip(*arguments: str) -> None:
    _run("-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def _in_environment(folder: Path, script: str, *arguments: str) -> None:
    """Run one of our scripts in `folder`: tools leave things where they run. Raises CalledProcessError."""
    _run(str(HERE / script), *arguments, cwd=folder)


def _run(*arguments: str, cwd: Path = HERE) -> None:
    subprocess.run(  # noqa: S603  # our own scripts
        [str(ENVIRONMENT / "bin/python"), *arguments],
        cwd=cwd,
        check=True,
        capture_output=True,
        text=True,
        timeout=3 * SECONDS,
        env={**os.environ, "OLIVE_DISABLE_TELEMETRY": "1"},
    )


def _samples(model: Path, path: Path) -> list[Feeds]:
    return read(path, onnx_file.specs(onnx.load(model))).feeds


def _theirs(tool: str, folder: Path, name: str) -> Path | str:
    """The file that a tool made, or why there is none."""
    out = folder / f"{name}-{tool}.onnx"
    _say(f"{tool} on {name} …")
    try:
        given = (str(folder / f"{name}{end}") for end in (".onnx", "-calibration.npz"))
        _in_environment(folder, "tools.py", tool, *given, str(out))
    except subprocess.TimeoutExpired:
        return f"it took more than {SECONDS} s"
    except subprocess.CalledProcessError as problem:
        return _last_words(problem.stderr)
    return out


def _last_words(said: str) -> str:
    lines = [line for line in said.splitlines() if "Error" in line or "Exception" in line]
    return lines[-1][:120] if lines else "it ended without a word"


def _ours(folder: Path, name: str) -> Path | str:
    _say(f"{OURS} on {name} …")
    outcome = optimize(
        Request(
            source=str(folder / f"{name}.onnx"),
            format="onnx",
            device_class=DeviceClass.EMBEDDED,
            recipe=recipe_for(DeviceClass.EMBEDDED),
            cache=str(folder / "ours"),
            evaluation=str(folder / f"{name}-calibration.npz"),
            budget=BUDGETS["quick"],
        ),
        folder,
    )
    won = next(trial for trial in outcome.trials if trial.name == outcome.winner)
    return Path(str(won.artifact)) / "model.onnx"


def _judge(
    tool: str, model: Path, made: Path | str, samples: list[Feeds], alike: Callable[[Answers, Answers], float]
) -> Result:
    """Measured in turn with the original, one thread."""
    if isinstance(made, str):
        return Result(tool, reason=made)
    figures = Figures(bytes=made.stat().st_size)
    try:
        original, variant = runtimes.load(model), runtimes.load(made)
        expected, found = ([each.run(feeds) for feeds in samples] for each in (original, variant))
        evaluation.compare(found, expected, figures)
        benchmark.latency(figures, made, model, samples, ROUNDS)
    except (runtimes.ModelError, PassError) as problem:
        return Result(tool, reason=str(problem)[:120])
    return Result(tool, figures, alike(found, expected))


def _rows(name: str, words: str, size: int, ours: Result, others: Sequence[Result]) -> list[Row]:
    """Beside the best that any of the others has in each column, whatever it gave up for it in the others."""
    figures = [(each.figures, each.kept) for each in others if each.figures]
    if ours.figures is None or not figures:
        raise RuntimeError(f"{name}: {ours.reason or 'none of the others made anything of it'}")
    smaller, smallest = size / ours.figures.bytes, size / min(each.bytes for each, _ in figures)
    latency, least = ours.figures.ratio_p50, min(each.ratio_p50 for each, _ in figures)
    kept, most = ours.kept, max(kept for _, kept in figures)
    return [
        Row(f"{name}: size, best of the others", smaller, "times smaller", smallest, "higher", smallest, smaller),
        # Two sessions of one and the same file differ by as much.
        Row(f"{name}: latency, best of the others", latency, "of the original's", least + SAME_SPEED, "lower", least),
        Row(f"{name}: {words}, best of the others", kept, "", most, "higher", most, n=len(figures)),
    ]


def _table(name: str, words: str, size: int, results: Sequence[Result]) -> str:
    head = (name, "bytes", "smaller", "latency", "cosine", words)
    body = [
        (
            each.tool,
            f"{each.figures.bytes:,}",
            f"{size / each.figures.bytes:.2f} x",
            f"{each.figures.ratio_p50:.2f} x",
            f"{each.figures.cosine:.5f}",
            f"{100 * each.kept:.1f} %",
        )
        if each.figures
        else (each.tool, each.reason, "", "", "", "")
        for each in results
    ]
    return columns(head, body)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
