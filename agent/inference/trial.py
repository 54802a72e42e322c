"""Tries an installed variant on its golden observations: right answers, finite ones, how fast, how much memory."""

import time
from pathlib import Path

from agent.inference import golden, inference_engine, policy_card, runtimes
from agent.inference.golden import Golden
from agent.wire import codec
from agent.wire import manifest as wire


def manifest_of(folder: Path) -> wire.Manifest:
    """The manifest that an artifact was installed with. Raises WireError or OSError."""
    return codec.decode((folder / "manifest.json").read_bytes(), wire.Manifest, limit=wire.MAX_MANIFEST)


class Trial:
    """A loaded variant and its golden observations.

    Raises CardError, InputError, ModelError, GoldenError, WireError or OSError.
    """

    def __init__(self, folder: Path, threads: int, backend: runtimes.Backend = runtimes.DEFAULT) -> None:
        self.manifest = manifest_of(folder)
        self._golden: Golden = golden.read(folder / "golden.npz")
        self._model = inference_engine.load(folder, threads=threads, backend=backend)
        self._check_inputs()

    def _check_inputs(self) -> None:
        """What the golden runs were fed with must be what the model takes, and what the card makes."""
        runtimes.check(self._golden.feeds(0), self._model.runtime.inputs)
        if self._model.card is None or self._model.codec is None:
            return
        made = self._model.codec.feeds(policy_card.blank(self._model.card))
        if set(made) != set(self._golden.inputs):
            raise golden.GoldenError(
                f"The golden observations hold the inputs {sorted(self._golden.inputs)}, the card names {sorted(made)}."
            )
        for name, fed in self._golden.feeds(0).items():
            if (made[name].shape, made[name].dtype) != (fed.shape, fed.dtype):
                raise golden.GoldenError(
                    f"The card makes {made[name].dtype} {list(made[name].shape)} of the input {name}, "
                    f"the golden observations hold {fed.dtype} {list(fed.shape)}."
                )

    def largest_error(self, most: int | None = None) -> float:
        """The largest absolute difference over all samples, or over the first `most`.

        With a card, the actions must come out of them, too.
        """
        largest = 0.0
        for number in range(min(self._golden.samples, most or self._golden.samples)):
            outputs = self._model.runtime.run(self._golden.feeds(number))
            largest = max(largest, golden.largest_error(outputs, self._golden, number))
            if self._model.card is None or self._model.codec is None:
                continue
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
