"""Tries an installed variant on its golden observations: right answers, finite ones, how fast, how much memory."""

import time
from pathlib import Path

from agent.inference import golden, inference_engine
from agent.inference.golden import Golden
from agent.wire import codec
from agent.wire import manifest as wire


def manifest_of(folder: Path) -> wire.Manifest:
    """The manifest that an artifact was installed with. Raises WireError or OSError."""
    return codec.decode((folder / "manifest.json").read_bytes(), wire.Manifest, limit=wire.MAX_MANIFEST)


class Trial:
    """A loaded variant and its golden observations. Raises CardError, ModelError, GoldenError, WireError or OSError."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.manifest = manifest_of(folder)
        self._golden: Golden = golden.read(folder / "golden.npz")
        self._model = inference_engine.load(folder, threads=threads)
        inputs = frozenset(self._golden.inputs)
        if inputs != self._model.runtime.inputs:
            raise golden.GoldenError(
                f"The golden observations hold the inputs {sorted(inputs)}, "
                f"the model takes {sorted(self._model.runtime.inputs)}."
            )

    def largest_error(self) -> float:
        """The largest absolute difference over all samples. The actions must come out of them, too."""
        largest = 0.0
        for number in range(self._golden.samples):
            outputs = self._model.runtime.run(self._golden.feeds(number))
            largest = max(largest, golden.largest_error(outputs, self._golden, number))
            name = self._model.card.actions.output
            if name not in outputs:
                raise golden.GoldenError(f"The model has no output {name!r}; the policy card names it.")
            self._model.codec.actions(outputs[name])
        return largest

    def timed(self, number: int) -> float:
        """Milliseconds of one run."""
        feeds = self._golden.feeds(number)
        start = time.perf_counter()
        self._model.runtime.run(feeds)
        return 1e3 * (time.perf_counter() - start)
