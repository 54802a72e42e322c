"""Layers that cannot bear a change: found by measuring, and left as they are until the outputs hold.

Each group of layers is changed alone, and its error at the outputs measured. Then the worst are left alone, one more
after the other, until the answers are close enough to those before the change (the idea of accuracy-aware training in
NNCF). On a text detector of 62 convolutions two that have 4 % of the bytes cause nearly all of the error of int8
weights: with them in fp16 the mean cosine similarity rises from 0.9938 to 0.9991.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fleet.optimizer.errors import PassError
from fleet.optimizer.evaluation import cosine

if TYPE_CHECKING:
    from fleet.optimizer.inputs import Feeds

#: Mean cosine similarity to the outputs before, from which on they hold: a tenth of what the gate allows to be lost.
HOLD = 0.999
#: Samples that outputs are compared on.
SAMPLES = 12

#: Writes the changed model to a path, with these items (nodes or weights) left as they are.
Change = Callable[[Path, Sequence[str]], None]
#: Which groups are left alone before anything else is asked, from each one's error.
Choose = Callable[[Mapping[str, float]], list[str]]


class Group(msgspec.Struct):
    """Items that are decided on together, and the bytes of their weights."""

    items: list[str]
    size: int = 0


def grouped(weights: Mapping[str, str], sizes: Mapping[str, int], most: int) -> dict[str, Group]:
    """Items (node or weight → the weight's name) by as many first parts of that name as give at most `most` groups."""
    deepest = max((name.count(".") for name in weights.values()), default=0)
    for depth in range(deepest, -1, -1):
        groups: dict[str, Group] = {}
        for item, weight in weights.items():
            group = groups.setdefault(".".join(weight.split(".")[: depth + 1]), Group([]))
            group.items.append(item)
            group.size += sizes[weight]
        if len(groups) <= most:
            return groups
    # Names that say nothing: neighbours in the graph belong together.
    items = list(weights)
    step = -(-len(items) // most)
    return {
        weights[items[at]]: Group(items[at : at + step], sum(sizes[weights[each]] for each in items[at : at + step]))
        for at in range(0, len(items), step)
    }


def leave_out(
    source: Path,
    folder: Path,
    groups: Mapping[str, Group],
    samples: Sequence["Feeds"],
    change: Change,
    choose: Choose | None = None,
) -> list[str]:
    """The groups that have to stay as they are in `source`. Raises PassError when nothing could be changed then."""
    few = [samples[i] for i in np.unique(np.linspace(0, len(samples) - 1, min(SAMPLES, len(samples))).astype(int))]
    expected, tried = _outputs(source, few), folder / "tried.onnx"

    def outputs(left: Sequence[str]) -> list[NDArray[np.float64]]:
        change(tried, [item for name in left for item in groups[name].items])
        return _outputs(tried, few)

    def holds(left: Sequence[str]) -> bool:
        found = outputs(left)
        return float(np.mean([cosine(a, b) for a, b in zip(found, expected, strict=True)])) >= HOLD

    def alone(name: str) -> float:
        found = outputs([other for other in groups if other != name])
        return sum(float(((a - b) ** 2).sum()) for a, b in zip(found, expected, strict=True))

    errors: dict[str, float] = {}
    left: list[str] = []
    if choose is not None and len(groups) > 1:
        errors = {name: alone(name) for name in groups}
        left = choose(errors)
    if holds(left):
        return left
    errors = errors or {name: alone(name) for name in groups}
    order = left + sorted(errors.keys() - set(left), key=lambda name: errors[name], reverse=True)
    # With this many of them left alone it does not hold, with that many it does, as far as is known.
    low, high = len(left), len(order)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(order[:middle]) else (middle, high)
    if high == len(order):
        raise PassError(f"every layer is needed as it is: changed, the outputs' mean cosine similarity is below {HOLD}")
    return order[:high]


def _outputs(path: Path, samples: Sequence["Feeds"]) -> list[NDArray[np.float64]]:
    from agent.inference import runtimes

    model = runtimes.load(path)
    return [_flat(model.run(feeds)) for feeds in samples]


def _flat(outputs: Mapping[str, Any]) -> NDArray[np.float64]:
    return np.concatenate([np.asarray(value, np.float64).ravel() for value in outputs.values()])
