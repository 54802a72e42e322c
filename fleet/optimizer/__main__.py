"""Optimize a model file from the command line, without a server.

    python -m fleet.optimizer policy.pt2 --card card.json --evaluation evaluation.npz --class embedded --out DIR

DIR gets one folder for each trial that passed, `winner` beside them, and outcome.json with every trial and its reason.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

import msgspec

from agent.wire.hardware import DeviceClass
from fleet.optimizer import intake
from fleet.optimizer.contract import Budget, Constraints, Outcome, Request
from fleet.optimizer.errors import OptimizerError
from fleet.optimizer.recipe import recipe_for
from fleet.optimizer.search import optimize


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    try:
        source = Path(given.model).resolve()
        request = Request(
            source=str(source),
            format=intake.accept(source, source.name).format,
            device_class=DeviceClass(given.device_class),
            recipe=recipe_for(
                DeviceClass(given.device_class),
                given.goal,
                compression=given.compression,
                bits=given.bits,
                pruning=given.pruning,
            ),
            cache=str(given.cache or given.out / "cache"),
            card=given.card.read_bytes() if given.card else None,
            evaluation=str(given.evaluation.resolve()) if given.evaluation else None,
            evaluator=given.evaluator,
            budget=Budget(episodes=given.episodes),
            constraints=Constraints(max_loss_points=given.max_loss, max_latency_ms=given.max_latency),
        )
        with tempfile.TemporaryDirectory(prefix="edgefleet-") as work:
            outcome = optimize(request, Path(work), _show)
    except (OptimizerError, OSError, ValueError) as problem:
        print(problem, file=sys.stderr)
        return 1
    _keep(outcome, given.out)
    _print(outcome)
    return 0 if outcome.winner else 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fleet.optimizer", description="Make the best variant of a model.")
    parser.add_argument("model", help="a .pt2 of torch.export or an .onnx file")
    parser.add_argument("--class", dest="device_class", choices=list(DeviceClass), default="embedded")
    parser.add_argument("--out", type=Path, required=True, help="folder for the variants")
    parser.add_argument("--card", type=Path, help="the policy card")
    parser.add_argument("--evaluation", type=Path, help=".npz of recorded inputs")
    parser.add_argument("--evaluator", help="an installed module:function that runs episodes")
    parser.add_argument("--goal", default="balanced", help="balanced, realtime or accuracy")
    parser.add_argument("--compression", type=float, help="0.1 to 0.9; the class's own when left out")
    parser.add_argument("--bits", type=int, help="8, 16 or 32")
    parser.add_argument("--pruning", type=float, help="0.1 to 0.5")
    parser.add_argument("--episodes", type=int, default=Budget().episodes)
    parser.add_argument("--max-loss", type=float, default=Constraints().max_loss_points, help="points of success")
    parser.add_argument("--max-latency", type=float, default=0.0, help="ms; the card's deadline when left out")
    parser.add_argument("--cache", type=Path, help="folder that several searches share")
    return parser


def _show(share: float, text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{100 * share:3.0f} %  {text[:100]}\x1b[K", end="", file=sys.stderr, flush=True)


def _keep(outcome: Outcome, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for trial in outcome.trials:
        if trial.artifact:
            name = "winner" if trial.verdict == "won" else re.sub(r"\W+", "-", trial.name)
            shutil.copytree(trial.artifact, folder / name, dirs_exist_ok=True)
    data = json.dumps(msgspec.to_builtins(outcome), indent=2)
    (folder / "outcome.json").write_text(data + "\n")


def _print(outcome: Outcome) -> None:
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    print(f"{'trial':36} {'verdict':8} {'KiB':>8} {'p50 ms':>7} {'x orig.':>7} {'success':>8}  reason")
    for trial in outcome.trials:
        figures = trial.figures
        success = f"{100 * figures['success']:.1f} %" if "success" in figures else ""
        print(
            f"{trial.name:36} {trial.verdict:8} {figures.get('bytes', 0) / 1024:8.0f} {figures.get('p50_ms', 0):7.2f} "
            f"{figures.get('ratio_p50', 0):7.2f} {success:>8}  {trial.reason}"
        )
    print(outcome.summary)


if __name__ == "__main__":
    sys.exit(main())
