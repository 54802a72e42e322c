"""What an engine is asked in tests, and models that answer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from agent.inference import inference_engine
from agent.inference.inference_engine import LoadedModel
from agent.inference.policy_card import Observation
from tests.agent.inference.folders import folder_of
from tests.agent.variants import variant


def seen(*state: float) -> Observation:
    return Observation(np.zeros((8, 8, 3), np.uint8), "", np.array(state or (1, 2, 3, 4), np.float32))


def fed(*state: float) -> dict[str, np.ndarray]:
    return {"state": np.array([state or (1, 2, 3, 4)], np.float32)}


def loader(folder: Path) -> Callable[..., LoadedModel]:
    """`loader(folder)(2.0)` is a loaded model whose actions are twice the sum of the state, and whose name says so."""
    count = iter(range(1000))

    def load(weight: float = 1.0, **how) -> LoadedModel:
        return inference_engine.load(
            folder_of(variant(weight, **how), folder / str(next(count))), artifact=f"a-{weight}"
        )

    return load
