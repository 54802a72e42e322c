"""Whether a policy still does its job: whole episodes on the tabletop, decided one at a time as on a device.

Measured: the same weights lose 1.6 points more when decisions are batched (dynamic int8 sees other ranges), so only
the worlds are stepped together, never the decisions.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.inference.policy_card import Card, Codec, Observation
from fleet.demo.world import HORIZON, SELECTION, TRAINING, Tabletop

Feeds = dict[str, NDArray[Any]]
#: The model's inputs, batch of one → its action output [1, chunk, size].
Run = Callable[[Feeds], NDArray[Any]]

#: Worlds that are stepped together: enough to render them cheaply, few enough to hold their images.
_TOGETHER = 250


def evaluate(run: Run, codec: Codec, episodes: int, seed: int, among: range = SELECTION) -> NDArray[np.bool_]:
    """Whether each of `episodes` episodes succeeded: bool [episodes]. Episode i is that of seed `among[seed + i]`.

    The same seed gives every candidate the same worlds, so that two of them can be compared pair by pair.
    Raises CardError or FloatingPointError when the model answers with something that is no chunk of actions.
    """
    seeds = among[seed : seed + episodes]
    if len(seeds) < episodes:
        raise ValueError(f"there are no {episodes} episodes from seed {seed} on: {len(among)} are set aside")
    return np.concatenate([_together(run, codec, seeds[at : at + _TOGETHER]) for at in range(0, episodes, _TOGETHER)])


def batches(card: Card, size: int, seed: int) -> Iterator[Feeds]:
    """Endless batches of model inputs that are never evaluated on: one array per input, `size` on the first axis."""
    # Different seeds lie apart, and all of them far from the first worlds, with which the weights were trained.
    at = len(TRAINING) // 2 + (seed * 10**6) % (len(TRAINING) // 4)
    while True:
        yield inputs(card, [TRAINING[(at + i) % len(TRAINING)] for i in range(size)])
        at += size


def inputs(card: Card, seeds: Sequence[int]) -> Feeds:
    """What the model is fed somewhere on the way through each of these worlds: one array per input, [n, …]."""
    codec = Codec(card)
    world = Tabletop(seeds)
    world.wander()
    each = [
        codec.feeds(Observation(image, text, state))
        for image, text, state in zip(world.images(), world.instructions, world.state, strict=True)
    ]
    return {name: np.concatenate([feeds[name] for feeds in each]) for name in each[0]}


def _together(run: Run, codec: Codec, seeds: range) -> NDArray[np.bool_]:
    world = Tabletop(seeds)
    actions = codec.card.actions
    chunks = np.zeros((len(seeds), actions.chunk, actions.size), np.float32)
    for _ in range(0, HORIZON, actions.execute):
        going = np.flatnonzero(~world.done)
        if not len(going):
            break
        for place, image in zip(going, world.images(going), strict=True):
            seen = Observation(image, world.instructions[place], world.state[place])
            chunks[place] = codec.actions(run(codec.feeds(seen)))
        for step in range(actions.execute):
            world.step(chunks[:, step])
    return world.success
