"""Sources of observations for tests: the shortest things that an agent can look at and act upon."""

import numpy as np

from agent.inference.policy_card import Card, Floats, Observation
from agent.source import Finished


class Steady:
    """The state counts what was carried out; ten actions are an episode, which is a success. `lead` comes first."""

    lead = 1.0

    def __init__(self, card: Card, seed: int) -> None:
        self._acted = seed

    def observe(self) -> Observation:
        state = np.array([self.lead, self._acted % 7, 3, 4], np.float32)
        return Observation(np.zeros((8, 8, 3), np.uint8), "", state)

    def act(self, actions: Floats) -> Finished:
        self._acted += 1
        done = self._acted % 10 == 0
        return Finished(episodes=int(done), successes=int(done))


class Zero(Steady):
    """What makes a poisoned model answer NaN."""

    lead = 0.0


class Negative(Steady):
    """What ends the process of a fatal model."""

    lead = -1.0


class Restless(Steady):
    """Never the same twice, so that no cache knows it."""

    def observe(self) -> Observation:
        state = np.array([1.0, 2 + self._acted / 1024, 3, 4], np.float32)
        return Observation(np.zeros((8, 8, 3), np.uint8), "", state)


def restless(card: Card, seed: int) -> Restless:
    return Restless(card, seed)


def zero(card: Card, seed: int) -> Zero:
    return Zero(card, seed)


def negative(card: Card, seed: int) -> Negative:
    return Negative(card, seed)


def steady(card: Card, seed: int) -> Steady:
    return Steady(card, seed)


class Vivid:
    """Something to recognize: a picture that no noise resembles, words and numbers that nothing else contains."""

    def __init__(self, card: Card, seed: int) -> None:
        self._observation = vivid_observation()

    def observe(self) -> Observation:
        return self._observation

    def act(self, actions: Floats) -> Finished:
        return Finished()


def vivid_observation() -> Observation:
    picture = np.random.default_rng(4711).integers(0, 256, (24, 32, 3), np.uint8)
    state = np.array([0.731584, 0.918273, 0.463728, 0.827364], np.float32)
    return Observation(picture, "fetch marmalade for grandmother", state)


def vivid(card: Card, seed: int) -> Vivid:
    return Vivid(card, seed)
