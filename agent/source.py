"""Where observations come from on a device that acts by itself.

A source is named `module:factory` in the settings; `factory(card, seed)` makes it. The agent itself ships none that
needs more than numpy.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from agent.inference.policy_card import Card, Floats, Observation


@dataclass(frozen=True, slots=True)
class Finished:
    """What carrying out a chunk brought to its end."""

    episodes: int = 0
    successes: int = 0


class Source(Protocol):
    """Something to look at and to act upon."""

    def observe(self) -> Observation: ...

    def act(self, actions: Floats) -> Finished:
        """Carry out the first `card.actions.execute` rows of a chunk float32 [chunk, size]."""
        ...


Factory = Callable[[Card, int], Source]


def load(name: str) -> Factory:
    """The factory behind `module:factory`. Raises ValueError when there is none."""
    module, _, attribute = name.partition(":")
    try:
        return cast(Factory, getattr(importlib.import_module(module), attribute))
    except (ImportError, AttributeError, ValueError) as problem:
        raise ValueError(f"there is no observation source {name!r}: {problem}") from problem
