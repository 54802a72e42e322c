"""NaN is refused on the way in, NaN and infinity on the way out."""

from typing import TYPE_CHECKING

import numpy as np

from agent.inference.runtimes import InputError, ModelError

if TYPE_CHECKING:
    from agent.inference.runtimes import Arrays


def check_inputs(feeds: "Arrays") -> None:
    """Raises InputError for NaN. Infinity passes: it is how some models are told to look away from a place."""
    for name, array in feeds.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise InputError(f"The input {name!r} holds NaN.")


def check_outputs(outputs: "Arrays") -> None:
    """Raises FloatingPointError for NaN or infinity, ModelError for what is no tensor of numbers."""
    for name, array in outputs.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            raise ModelError(f"The output {name!r} is no tensor of numbers.")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise FloatingPointError(f"The model answered with NaN or infinity in {name!r}.")
