"""A task for a tiny policy, and its evaluator: `actions` should be `state`. Without torch: children import it often.

An image, a word and three numbers go in; a chunk of two actions of three numbers comes out, and each should be the
three numbers again.
"""

from collections.abc import Iterator

import msgspec
import numpy as np

from agent.inference.policy_card import (
    ActionOutput,
    Card,
    Codec,
    ImageInput,
    InstructionInput,
    Observation,
    StateInput,
    WordTokenizer,
)

CARD = Card(
    name="tiny",
    deadline_ms=1000,
    inputs={
        "image": ImageInput(height=8, width=8),
        "tokens": InstructionInput(length=4),
        "state": StateInput(size=3),
    },
    actions=ActionOutput(output="actions", chunk=2, size=3, execute=1, low=(-1.0,) * 3, high=(1.0,) * 3),
    tokenizer=WordTokenizer(vocabulary=("<pad>", "go", "left", "right")),
    parts={"vision": ("vision.",), "action": ("head.",)},
)
CARD_BYTES = msgspec.json.encode(CARD)


def observations(seed: int, count: int) -> list[Observation]:
    random = np.random.default_rng(seed)
    return [
        Observation(
            random.integers(0, 256, (8, 8, 3), dtype=np.uint8),
            str(random.choice(["go", "go left", "go right"])),
            random.uniform(-0.8, 0.8, 3).astype(np.float32),
        )
        for _ in range(count)
    ]


def batches(card: Card, size: int, seed: int) -> Iterator[dict[str, np.ndarray]]:
    codec, at = Codec(card), 10_000_000 + 1000 * seed
    while True:
        feeds = [codec.feeds(each) for each in observations(at, size)]
        yield {name: np.concatenate([each[name] for each in feeds]) for name in feeds[0]}
        at += 1


def evaluate(run, codec: Codec, episodes: int, seed: int) -> np.ndarray:
    """An episode is one decision: each action must be within 0.12 of the state."""
    done = []
    for episode in range(episodes):
        (seen,) = observations(seed + episode, 1)
        chunk = codec.actions(run(codec.feeds(seen)))
        done.append(np.abs(chunk - seen.state).max() < 0.12)
    return np.array(done)
