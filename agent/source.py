"""Where observations come from on a device that acts by itself.

A source is named `module:factory` in the settings; `factory(card, seed)` makes it. `folder:/path` and
`camera:/dev/video0` are those that the agent brings along (`agent.sources`).
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
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


def load(name: str, instruction: str = "") -> Factory:
    """The factory behind a source's name; `instruction` is for those that come along. Raises ValueError for none."""
    module, _, attribute = name.partition(":")
    if attribute.startswith("/"):
        return _own(module, Path(attribute), instruction)
    try:
        return cast(Factory, getattr(importlib.import_module(module), attribute))
    except (ImportError, AttributeError, ValueError) as problem:
        raise ValueError(f"there is no observation source {name!r}: {problem}") from problem


def _own(kind: str, path: Path, instruction: str) -> Factory:
    if kind == "folder":
        from agent.sources.folder import Folder

        return lambda card, _seed: Folder(path, card, instruction)
    if kind == "camera":
        from agent.sources.camera import CameraSource

        return lambda card, _seed: CameraSource(path, card, instruction)
    raise ValueError(f"there is no observation source {kind!r}")
