"""What the optimizer gives on the tabletop policy, and on a policy of 16.7 million parameters of the same architecture.

Success is measured on 4,000 paired episodes whose seeds no search and no training has seen; latency with one thread, in
turn with ONNX Runtime on the original's float32.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from agent.inference import policy_card, runtimes
from agent.inference.policy_card import Codec
from agent.wire.hardware import DeviceClass
from bench import peers
from bench.rows import Row
from fleet.demo.evaluator import evaluate
from fleet.demo.policy import ASSETS
from fleet.demo.world import EVALUATION
from fleet.optimizer import benchmark
from fleet.optimizer.contract import BUDGETS, Budget, Outcome, Request
from fleet.optimizer.evaluation import Figures
from fleet.optimizer.inputs import rows as samples_of
from fleet.optimizer.recipe import recipe_for
from fleet.optimizer.search import optimize
from fleet.optimizer.statistics import paired_loss

EPISODES = 4000
ROUNDS = 60
EVALUATOR = "fleet.demo.evaluator:evaluate"
#: Runs in a process of its own: the policy's width is a constant of its module.
BIG = """
import sys, torch
from pathlib import Path
from fleet.demo import policy
policy.WIDTH = 456
torch.manual_seed(0)
policy.save_pt2(policy.TabletopPolicy(), Path(sys.argv[1]))
"""
SMALL = "import sys; from pathlib import Path; from fleet.demo.policy import build_pt2; build_pt2(Path(sys.argv[1]))"


def run() -> Iterator[Row]:
    folder = Path(tempfile.mkdtemp(prefix="edgefleet-bench-"))
    try:
        yield from _tabletop(folder)
        yield from _big(folder)
        yield from peers.run()
    finally:
        shutil.rmtree(folder)


def _tabletop(folder: Path) -> list[Row]:
    model = _built(SMALL, folder / "tabletop.pt2")
    quick, _ = _searched(model, folder / "quick", BUDGETS["quick"])
    full, found = _searched(model, folder / "full", BUDGETS["full"])
    original = _artifact(found[DeviceClass.EMBEDDED], "original")
    done = _success(original)
    rows = []
    for device_class, outcome in found.items():
        won = _artifact(outcome, outcome.winner or "original")
        loss, low, high = (100 * share for share in paired_loss(done, _success(won)))
        _say(f"{device_class}: {outcome.winner}, loss {loss:.2f} points ({low:.2f} to {high:.2f})")
        smaller = _bytes(original) / _bytes(won)
        if device_class is DeviceClass.EDGE_SERVER:
            rows.append(_size_row("edge server: size against fp32 ONNX", smaller, 2.0, original))
            rows.append(Row("edge server: upper bound of the loss", high, "points", 0.5, "lower", n=EPISODES))
            continue
        if device_class is DeviceClass.EMBEDDED:
            figures = _timed(original, won)
            rows.append(_size_row("embedded: size against fp32 ONNX", smaller, 3.4, original))
            rows.append(_speed_row("embedded: p50, one thread, against fp32", figures, 1.15))
            rows.append(_pruning_row(outcome, won))
        before = 100 * float(done.mean())
        rows.append(Row(f"{device_class}: task success lost", loss, "points", 1.0, "lower", before, n=EPISODES))
        rows.append(Row(f"{device_class}: upper bound of the loss", high, "points", 2.0, "lower", n=EPISODES))
    rows.append(Row("three classes, quick budget", quick / 60, "min", 4.0, "lower"))
    rows.append(Row("three classes, full budget", full / 60, "min", 40.0, "lower"))
    return rows


def _big(folder: Path) -> list[Row]:
    """Its weights are made up, so there is no success to lose: the outputs on real observations decide."""
    model = _built(BIG, folder / "big.pt2")
    outcome = optimize(
        Request(
            source=str(model),
            format="pt2",
            device_class=DeviceClass.EMBEDDED,
            recipe=recipe_for(DeviceClass.EMBEDDED),
            cache=str(folder / "big"),
            card=(ASSETS / "card.json").read_bytes(),
            evaluation=str(ASSETS / "evaluation.npz"),
            budget=BUDGETS["quick"],
        ),
        folder,
        _progress,
    )
    original, won = _artifact(outcome, "original"), _artifact(outcome, outcome.winner or "original")
    _say(f"16.7 M parameters: {outcome.summary}")
    return [
        _speed_row("16.7 M parameters: p50, one thread, against fp32", _timed(original, won), 1.7),
        _size_row("16.7 M parameters: size against fp32 ONNX", _bytes(original) / _bytes(won), 3.5, original),
    ]


def _searched(model: Path, cache: Path, budget: Budget) -> tuple[float, dict[DeviceClass, Outcome]]:
    """The seconds that three classes take, and what came of each."""
    begun = time.monotonic()
    found = {}
    for device_class in DeviceClass:
        request = Request(
            source=str(model),
            format="pt2",
            device_class=device_class,
            recipe=recipe_for(device_class),
            cache=str(cache),
            card=(ASSETS / "card.json").read_bytes(),
            evaluation=str(ASSETS / "evaluation.npz"),
            evaluator=EVALUATOR,
            budget=budget,
        )
        found[device_class] = optimize(request, cache.parent, _progress)
        _say(found[device_class].summary)
    return time.monotonic() - begun, found


def _built(code: str, path: Path) -> Path:
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True)  # noqa: S603  # ourselves
    return path


def _artifact(outcome: Outcome, name: str) -> Path:
    artifact = next(trial.artifact for trial in outcome.trials if trial.name == name)
    if artifact is None:
        raise RuntimeError(f"{name} left no artifact: {outcome.summary}")
    return Path(artifact)


def _bytes(artifact: Path) -> int:
    return (artifact / "model.onnx").stat().st_size


def _success(artifact: Path) -> Any:
    codec = Codec(policy_card.read((artifact / "card.json").read_bytes()))
    model = runtimes.load(artifact / "model.onnx")
    return evaluate(lambda feeds: model.run(feeds)[codec.card.actions.output], codec, EPISODES, 0, EVALUATION)


def _timed(original: Path, variant: Path) -> Figures:
    with np.load(original / "golden.npz") as file:
        columns = {name.removeprefix("input/"): file[name] for name in file.files if name.startswith("input/")}
    samples = samples_of(columns, len(next(iter(columns.values()))))
    figures = Figures(bytes=0)
    benchmark.latency(figures, variant / "model.onnx", original / "model.onnx", samples, ROUNDS)
    return figures


def _size_row(figure: str, smaller: float, goal: float, original: Path) -> Row:
    return Row(figure, smaller, "times smaller", goal, "higher", _bytes(original) / 1e6, smaller)


def _speed_row(figure: str, figures: Figures, goal: float) -> Row:
    faster = 1 / figures.ratio_p50
    return Row(figure, faster, "times faster", goal, "higher", figures.p50_ms * faster, faster, n=ROUNDS)


def _pruning_row(outcome: Outcome, won: Path) -> Row:
    """What cutting bought beyond storing and quantizing: against the smallest that passed without it."""
    plain = [
        trial.figures["bytes"]
        for trial in outcome.trials
        if trial.verdict in {"won", "passed"} and "prune" not in trial.recipe
    ]
    bought = min(plain) / _bytes(won)
    return Row(
        "embedded: what cutting bought in size", bought, "times smaller", 1.0, "higher", min(plain) / 1e6, bought
    )


def _progress(share: float, text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{100 * share:3.0f} %  {text[:100]}\x1b[K", end="", file=sys.stderr, flush=True)


def _say(text: str) -> None:
    print(f"\r\x1b[K{text}" if sys.stderr.isatty() else text, file=sys.stderr, flush=True)
