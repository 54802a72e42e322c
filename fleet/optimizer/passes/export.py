"""Export: from a program to an ONNX file with the same free sizes."""

import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fleet.optimizer import onnx_file
from fleet.optimizer.errors import PassError
from fleet.optimizer.inputs import Feeds

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch.export import ExportedProgram

    from fleet.optimizer.graph import Program

OPSET = 18


def export(program: "Program", sample: Feeds, outputs: Sequence[str]) -> "ModelProto":
    """The program as a tidy ONNX model; its weights keep their names.

    Sizes that are free in the program stay free: for a batch of one that costs nothing that can be measured (1.20 ms
    against 1.23 for the demonstration's policy).
    """
    import torch

    # One warning for each operator of torchvision, which is not installed because nothing here needs it.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    module = program.module
    with warnings.catch_warnings():
        # Deprecations within torch's own exporter.
        warnings.simplefilter("ignore")
        try:
            exported = torch.onnx.export(
                _exported(program, sample),
                (),
                dynamo=True,
                opset_version=OPSET,
                input_names=[spec.name for spec in program.inputs],
                output_names=list(outputs),
                external_data=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as problem:
            raise PassError(f"torch cannot export the program to ONNX: {_innermost(problem)}") from problem
    if exported is None:
        raise PassError("torch gave no ONNX model")
    model = exported.model_proto
    _name_sizes(program, model)
    onnx_file.tidy(model)
    onnx_file.name_weights(model, {name: value.detach().numpy() for name, value in module.state_dict().items()})
    return model


def _exported(program: "Program", sample: Feeds) -> "ExportedProgram":
    """Traced anew, as far as its free sizes can be: what is traced with a size of one is taken to be fixed."""
    import torch
    from torch.export import Dim

    names = {symbol for free in program.symbols for symbol in free.values()}
    # A size that follows from others (2 * s0) is left to torch to find again.
    sizes = {symbol: Dim(symbol) if symbol.isidentifier() else Dim.AUTO for symbol in names}
    arguments = []
    for spec, free in zip(program.inputs, program.symbols, strict=True):
        array = sample[spec.name]
        for place in free:
            if array.shape[place] < 2:
                array = np.repeat(array, 2, place)
        arguments.append(torch.from_numpy(array))
    shapes = [{place: sizes[symbol] for place, symbol in free.items()} for free in program.symbols]
    try:
        return torch.export.export(program.module, tuple(arguments), dynamic_shapes=tuple(shapes))
    except (torch._dynamo.exc.UserError, ValueError, RuntimeError) as problem:
        raise PassError(f"torch cannot trace the program with its free sizes: {_innermost(problem)}") from problem


def _name_sizes(program: "Program", model: "ModelProto") -> None:
    """Call the free sizes something: the exporter takes torch's own symbols, as in s40."""
    called: dict[str, str] = {}
    for value, free in zip(model.graph.input, program.symbols, strict=True):
        for place in free:
            name = value.type.tensor_type.shape.dim[place].dim_param
            called.setdefault(name, "batch" if place == 0 and "batch" not in called.values() else f"size_{len(called)}")
    for value in (*model.graph.input, *model.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param in called:
                size.dim_param = called[size.dim_param]


def _innermost(problem: BaseException) -> str:
    """What it was in the end: the exporter wraps an error in pages of advice."""
    while problem.__cause__ is not None:
        problem = problem.__cause__
    return str(problem).strip().splitlines()[0][:300] if str(problem).strip() else type(problem).__name__
