"""Sources of observations for tests: the shortest things that an agent can look at and act upon."""

import numpy as np

from agent.inference.policy_card import Card, Floats, Observation
from agent.source import Finished


class Steady:
    """The state says how many actions were carried out; ten of them are an episode, which is a success."""

    def __init__(self, card: Card, seed: int) -> None:
        self._acted = seed

    def observe(self) -> Observation:
        state = np.array([self._acted % 7 + 1, 2, 3, 4], np.float32)
        return Observation(np.zeros((8, 8, 3), np.uint8), "", state)

    def act(self, actions: Floats) -> Finished:
        self._acted += 1
        done = self._acted % 10 == 0
        return Finished(episodes=int(done), successes=int(done))


def steady(card: Card, seed: int) -> Steady:
    return Steady(card, seed)
