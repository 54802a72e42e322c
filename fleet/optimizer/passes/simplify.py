"""Simplify: fold what is constant in an uploaded ONNX file.

Exports of our own gain nothing from it (measured: 310 nodes against 309, the same latency), and ONNX Runtime folds for
itself when it loads; older exporters leave shape arithmetic that keeps quantization from seeing the weights. What
changes the outputs is not used.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agent.inference import runtimes
from fleet.optimizer.inputs import Feeds

if TYPE_CHECKING:
    from onnx import ModelProto

TOLERANCE = 1e-4


def simplify(model: "ModelProto", folder: Path, samples: Sequence[Feeds]) -> tuple["ModelProto", list[str]]:
    """The simpler model, or the same one; and a note. Compared on a few samples."""
    import onnx
    import onnxslim

    before, after = folder / "before.onnx", folder / "simple.onnx"
    onnx.save(model, before)
    try:
        simple = onnxslim.slim(onnx.load(before))
        onnx.save(simple, after)
        difference = _difference(runtimes.load(before), runtimes.load(after), samples[:4])
    except Exception as problem:  # a simplifier that fails is no reason to refuse a model
        return model, [
            f"not simplified: {str(problem).splitlines()[0][:200] if str(problem) else type(problem).__name__}"
        ]
    if not difference <= TOLERANCE:
        return model, [f"not simplified: it would change the outputs by {difference:.2g}"]
    return simple, [f"simplified from {len(model.graph.node)} to {len(simple.graph.node)} nodes"]


def _difference(one: runtimes.Runtime, other: runtimes.Runtime, samples: Sequence[Feeds]) -> float:
    worst = 0.0
    for feeds in samples:
        mine, theirs = one.run(feeds), other.run(feeds)
        for name, value in mine.items():
            gap = np.abs(np.asarray(value, np.float64) - np.asarray(theirs[name], np.float64))
            worst = max(worst, float(gap.max(initial=0.0)))
    return worst
