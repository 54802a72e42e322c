"""The tabletop policy as the optimizer packages it, and the same with other action heads."""

import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from agent.inference import runtimes
from agent.wire.hardware import DeviceClass
from agent.wire.manifest import Manifest
from fleet.catalog import store
from fleet.demo.policy import ASSETS, build_pt2
from fleet.optimizer import packaging
from fleet.optimizer.contract import Budget, Request
from fleet.optimizer.recipe import recipe_for
from fleet.optimizer.search import optimize


def versions(folder: Path, count: int = 2) -> list[Manifest]:
    """Manifests of version 1 and those after it, with sources for who has version 1; their parts are in the store."""
    folder.mkdir()
    build_pt2(folder / "policy.pt2")
    outcome = optimize(
        Request(
            source=str(folder / "policy.pt2"),
            format="pt2",
            device_class=DeviceClass.EDGE_SERVER,
            recipe=recipe_for(DeviceClass.EDGE_SERVER),
            cache=str(folder / "cache"),
            card=(ASSETS / "card.json").read_bytes(),
            evaluation=str(ASSETS / "evaluation.npz"),
            budget=Budget(minutes=0.01),  # the original is all that is wanted
        ),
        folder,
        lambda *_: None,
    )
    trial = next(each for each in outcome.trials if each.name == "original")
    first = Path(str(trial.artifact))
    names = {"model": "tabletop", "variant": "original", "device_class": "embedded"}
    before = packaging.package(first, store.put_bytes, version="1", **names)
    made = [before]
    for number in range(2, count + 1):
        again = retrained(first, folder / f"version-{number}", seed=number)
        made.append(
            packaging.package(again, store.put_bytes, version=str(number), before=before, read=store.read, **names)
        )
    return made


def retrained(first: Path, second: Path, seed: int) -> Path:
    """A copy in which every weight of the action head has moved, with the golden answers that it gives."""
    shutil.copytree(first, second)
    model = onnx.load(second / "model.onnx")
    rng = np.random.default_rng(seed)
    moved = 0
    for tensor in model.graph.initializer:
        if "action.head" in tensor.name:
            values = numpy_helper.to_array(tensor)
            change = rng.normal(scale=0.01 * float(np.abs(values).mean() + 1e-6), size=values.shape)
            tensor.CopyFrom(numpy_helper.from_array((values + change).astype(values.dtype), tensor.name))
            moved += values.nbytes
    if not moved:
        raise RuntimeError("the model has no weights called action.head")
    onnx.save(model, second / "model.onnx")
    with np.load(first / "golden.npz") as file:
        arrays = {name: file[name] for name in file.files}
    loaded = runtimes.load(second / "model.onnx")
    inputs = {name.removeprefix("input/"): values for name, values in arrays.items() if name.startswith("input/")}
    answers = [
        loaded.run({name: values[number] for name, values in inputs.items()})
        for number in range(len(next(iter(inputs.values()))))
    ]
    for name in list(arrays):
        if name.startswith("output/"):
            arrays[name] = np.stack([answer[name.removeprefix("output/")] for answer in answers])
    np.savez_compressed(second / "golden.npz", allow_pickle=False, **arrays)
    return second
