"""A folder of pictures, one after the other in the order of their names, and then from the start."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from agent.inference.policy_card import Card, Floats, Observation, StateInput
from agent.source import Finished
from agent.sources import images

log = logging.getLogger(__name__)

#: .npz holds `image` with, where the model wants them, `instruction` and `state`.
ENDINGS = {".npz", ".npy", ".ppm", ".jpg", ".jpeg", ".png"}


class Folder:
    """Looks at files as if they were the world; carries nothing out. Holds to agent.source.Source.

    Files that come are seen in the next round. One that cannot be used is said once and left out.
    """

    def __init__(self, folder: Path, card: Card, instruction: str = "") -> None:
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}")
        self._folder = folder
        self._instruction = instruction
        sizes = [spec.size for spec in card.inputs.values() if isinstance(spec, StateInput)]
        self._state = max(sizes, default=0)
        self._files: Iterator[Path] = iter(())
        self._said: set[str] = set()

    def observe(self) -> Observation:
        """The next picture. Raises ValueError when a whole round brings none."""
        for _ in range(2):
            for path in self._files:
                try:
                    return self._read(path)
                except (images.ImageError, OSError) as problem:
                    self._say(path, problem)
            self._files = iter(sorted(each for each in self._folder.iterdir() if each.suffix.lower() in ENDINGS))
        raise ValueError(f"{self._folder} has no picture that can be used ({', '.join(sorted(ENDINGS))})")

    def act(self, actions: Floats) -> Finished:
        return Finished()

    def _read(self, path: Path) -> Observation:
        if path.suffix.lower() != ".npz":
            if self._state:
                raise images.ImageError(f"the model takes a state of {self._state} numbers: write .npz files with one")
            return Observation(images.read(path), self._instruction, np.zeros(0, np.float32))
        image, words, state = images.read_observation(path)
        return Observation(
            image,
            self._instruction if words is None else words,
            np.zeros(0, np.float32) if state is None else state,
        )

    def _say(self, path: Path, problem: Exception) -> None:
        if path.name not in self._said and len(self._said) < 1000:
            self._said.add(path.name)
            log.warning("%s is left out: %s", path.name, problem)
