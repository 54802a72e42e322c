"""What a simulated device looks at: one tabletop of its own. Numpy only: this runs inside every simulated device."""

import numpy as np

from agent.inference.policy_card import Card, Floats, Observation
from agent.source import Finished
from fleet.demo.world import ACTION, DEVICES, HORIZON, Tabletop

#: Episodes of one device before its seeds reach those of the next.
_EPISODES_APART = 100_000


class TabletopSource:
    """Episode after episode on one table; the seed says which. Holds to agent.source.Source."""

    def __init__(self, card: Card, seed: int) -> None:
        if card.actions.size != ACTION:
            raise ValueError(f"the tabletop takes {ACTION} numbers an action, the card says {card.actions.size}")
        self._execute = card.actions.execute
        self._episode = seed * _EPISODES_APART
        self._reset()

    def observe(self) -> Observation:
        return Observation(self._world.images()[0], self._world.instructions[0], self._world.state[0].copy())

    def act(self, actions: Floats) -> Finished:
        for action in actions[: self._execute]:
            self._world.step(np.asarray(action, np.float32)[None])
            self._steps += 1
        if not self._world.done[0] and self._steps < HORIZON:
            return Finished()
        finished = Finished(episodes=1, successes=int(self._world.success[0]))
        self._reset()
        return finished

    def expert_chunk(self) -> Floats:
        """What a perfect operator would answer now: float32 [chunk, 7]."""
        chunk: Floats = self._world.expert_chunk()[0]
        return chunk

    def _reset(self) -> None:
        self._world = Tabletop([DEVICES[self._episode % len(DEVICES)]])
        self._episode += 1
        self._steps = 0


def tabletop(card: Card, seed: int) -> TabletopSource:
    return TabletopSource(card, seed)
