"""Export: from a program to an ONNX file for a batch of one."""

import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fleet.optimizer import onnx_file
from fleet.optimizer.errors import PassError
from fleet.optimizer.inputs import Feeds

if TYPE_CHECKING:
    from onnx import ModelProto

    from fleet.optimizer.graph import Program

OPSET = 18


def export(program: "Program", sample: Feeds, outputs: Sequence[str]) -> "ModelProto":
    """The program as a tidy ONNX model; its shapes are those of `sample`, its weights keep their names."""
    import torch

    # One warning for each operator of torchvision, which is not installed because nothing here needs it.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    module = program.module
    with warnings.catch_warnings():
        # Deprecations within torch's own exporter.
        warnings.simplefilter("ignore")
        fixed = torch.export.export(module, program.arguments(sample))
        try:
            exported = torch.onnx.export(
                fixed,
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
    onnx_file.tidy(model)
    onnx_file.name_weights(model, {name: value.detach().numpy() for name, value in module.state_dict().items()})
    return model


def _innermost(problem: BaseException) -> str:
    """What it was in the end: the exporter wraps an error in pages of advice."""
    while problem.__cause__ is not None:
        problem = problem.__cause__
    return str(problem).strip().splitlines()[0][:300] if str(problem).strip() else type(problem).__name__
