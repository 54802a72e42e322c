"""Train the demonstration's policy from nothing: behaviour cloning of the scripted expert.

    python -m fleet.demo.train --steps 9000 --out FOLDER
    python -m fleet.demo.train --judge WEIGHTS      only measures, on episodes that nothing was trained or chosen with

The weights in `assets` succeed in 97.5 % of 4,000 such episodes (3,900; 95 % interval 97.0 to 97.9).

Measured on two cores: 9,000 steps of 64 scenes take 37 minutes. Success stays at 0 % for the first 1,000 steps, is 20 %
after 2,000, 77 % after 5,000 and 97 % at the end: do not stop early. Without the auxiliary loss on where the
instruction points, it stays at 0 %.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own documentation calls it F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from agent.inference import policy_card
from agent.inference.policy_card import Card, Codec
from fleet.demo.evaluator import Feeds, evaluate, inputs
from fleet.demo.policy import ASSETS, PATCHES, WIDTH, TabletopPolicy, load
from fleet.demo.world import EVALUATION, SELECTION, TRAINING, Tabletop
from fleet.optimizer.statistics import wilson

BATCH = 64
RATE = 1e-3
EVALUATE_EVERY = 500
EVALUATION_SAMPLES = 64
_SIDE = int(PATCHES**0.5)


class Scenes(NamedTuple):
    """image float [b, 3, 64, 64], tokens int64 [b, 8], state [b, 7], right actions [b, 8, 7], target's place [b, 2]."""

    image: Tensor
    tokens: Tensor
    state: Tensor
    actions: Tensor
    target: Tensor


class Pointer(nn.Module):
    """The policy with the head that only training needs: where on the table does the instruction point?"""

    def __init__(self) -> None:
        super().__init__()
        self.policy = TabletopPolicy()
        self.place = nn.Linear(WIDTH, 2)

    def loss(self, scenes: Scenes) -> tuple[Tensor, dict[str, float]]:
        actions, pointed, logits = self.policy.explained(scenes.image, scenes.tokens, scenes.state)
        cells = (scenes.target * _SIDE).long().clamp(0, _SIDE - 1)
        cell = cells[:, 1] * _SIDE + cells[:, 0]
        cloning = (actions - scenes.actions).abs().mean()
        pointing = (self.place(pointed) - scenes.target).abs().mean()
        loss = cloning + pointing + 0.1 * F.cross_entropy(logits, cell)
        hit = (logits.argmax(1) == cell).float().mean()
        return loss, {
            "actions": float(cloning.detach()),
            "place": float(pointing.detach()),
            "pointed right": float(hit),
        }


def scenes(card: Card, seeds: range) -> tuple[NDArray[np.generic], ...]:
    """One scene per seed with the expert's answer, as the fields of Scenes."""
    world = Tabletop(seeds)
    world.wander()
    codec = Codec(card)
    feeds = [
        codec.feeds(policy_card.Observation(image, text, state))
        for image, text, state in zip(world.images(), world.instructions, world.state, strict=True)
    ]
    stacked = (np.concatenate([each[name] for each in feeds]) for name in ("image", "tokens", "state"))
    return (*stacked, world.expert_chunk(), world.positions[:, 0].copy())


def train(steps: int, folder: Path, seed: int = 0, episodes: int = 250) -> float:
    """Train, write `tabletop_policy.safetensors` and `evaluation.npz`, and return the last measured success (0 … 1)."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    card = policy_card.read((ASSETS / "card.json").read_bytes())
    model = Pointer()
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=max(steps, 10), pct_start=0.08)
    success, begun = 0.0, time.monotonic()
    with _prepared(card, seed) as queue:
        for step in range(1, steps + 1):
            loss, figures = model.loss(Scenes(*(torch.from_numpy(array) for array in queue.get(timeout=120))))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if step % EVALUATE_EVERY == 0 or step == steps:
                success = _success(model.policy, card, episodes)
                save_file(model.policy.state_dict(), folder / "tabletop_policy.safetensors")
            _show(step, steps, time.monotonic() - begun, figures, success)
    np.savez_compressed(folder / "evaluation.npz", allow_pickle=False, **evaluation_set(card))
    return success


def judge(weights: Path, episodes: int) -> float:
    """The share of fresh episodes that succeed, said with its 95 % interval."""
    card = policy_card.read((ASSETS / "card.json").read_bytes())
    success = _success(load(weights), card, episodes, EVALUATION)
    low, high = wilson(round(success * episodes), episodes)
    print(
        f"{weights}: {100 * success:.1f} % of {episodes:,} fresh episodes succeed "
        f"(95 % interval {100 * low:.1f} to {100 * high:.1f})"
    )
    return success


def evaluation_set(card: Card) -> Feeds:
    """Inputs to compare variants on: one array per input, without the batch axis; never trained on."""
    return inputs(card, SELECTION[-EVALUATION_SAMPLES:])


def _success(policy: TabletopPolicy, card: Card, episodes: int, among: range = SELECTION) -> float:
    def run(feeds: Feeds) -> NDArray[np.float32]:
        with torch.inference_mode():
            answer: NDArray[np.float32] = policy(**{name: torch.from_numpy(a) for name, a in feeds.items()}).numpy()
        return answer

    policy.eval()
    success = evaluate(run, Codec(card), episodes, 0, among).mean()
    policy.train()
    return float(success)


@contextmanager
def _prepared(card: Card, seed: int) -> Iterator["multiprocessing.Queue[tuple[NDArray[np.generic], ...]]"]:
    """Scenes rendered by a second process: the first one then only trains."""
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[tuple[NDArray[np.generic], ...]] = context.Queue(8)
    worker = context.Process(target=_render, args=(queue, card, seed), daemon=True)
    worker.start()
    try:
        yield queue
    finally:
        worker.terminate()
        worker.join()


def _render(queue: "multiprocessing.Queue[tuple[NDArray[np.generic], ...]]", card: Card, seed: int) -> None:
    os.nice(5)
    at = seed * 10**7
    while True:
        queue.put(scenes(card, TRAINING[at : at + BATCH]))
        at += BATCH


def _show(step: int, steps: int, seconds: float, figures: dict[str, float], success: float) -> None:
    """A progress bar where somebody watches, a line now and then where a file does."""
    watched = sys.stderr.isatty()
    if not watched and step % 100 and step != steps:
        return
    filled = "█" * (30 * step // steps)
    losses = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
    left = seconds / step * (steps - step)
    line = f"{filled:·<30} {step}/{steps}, {losses}, success {100 * success:.0f} %, {left / 60:.0f} min left"
    print(f"\r{line}\x1b[K" if watched else line, end="" if watched else "\n", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demonstration's policy from nothing.")
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--seed", type=int, default=0, choices=range(40))
    parser.add_argument("--episodes", type=int, default=250, help="episodes of each evaluation")
    parser.add_argument("--out", type=Path, default=Path("var/training"))
    parser.add_argument("--final", type=int, default=4000, help="fresh episodes that the result is judged on")
    parser.add_argument("--judge", type=Path, metavar="WEIGHTS", help="train nothing, judge these")
    given = parser.parse_args()
    if given.judge:
        judge(given.judge, given.final)
        return
    if given.steps < 1:
        parser.error(f"--steps must be at least 1, not {given.steps}")
    train(given.steps, given.out, given.seed, given.episodes)
    print(file=sys.stderr)
    judge(given.out / "tabletop_policy.safetensors", given.final)


if __name__ == "__main__":
    main()
