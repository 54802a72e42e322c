"""What flows through an ONNX model: the values of its graph, sample by sample."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto

    from fleet.optimizer.inputs import Feeds


def watch(
    model: "ModelProto", names: Sequence[str], folder: Path, samples: Sequence["Feeds"]
) -> Iterator[dict[str, NDArray[Any]]]:
    """Each sample's values by their names in the graph; inputs and outputs may be among them."""
    import onnx

    from agent.inference import runtimes

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    known = {each.name for each in model.graph.output} | {each.name for each in model.graph.input}
    wanted = sorted(set(names))
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in known)
    onnx.save(watched, folder / "watched.onnx")
    runtime = runtimes.load(folder / "watched.onnx")
    for feeds in samples:
        found: dict[str, Any] = {**feeds, **runtime.run(feeds)}
        yield {name: found[name] for name in wanted}
