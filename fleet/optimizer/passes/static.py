"""Static int8: activations get their ranges once, from real inputs, so that a call has none to look for.

Convolutions too, which dynamic int8 leaves alone. Weights are signed with one scale per channel, activations unsigned
(signed ones take 26 ms where unsigned ones take 16). It is only as good as what it is calibrated on: a detector that
was calibrated on noise kept a cosine of 0.9999 on noise and lost every detection on a photo; so it is tried only with
real inputs. Quantize and dequantize nodes stay in the file; ONNX Runtime fuses them when it loads.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fleet.optimizer.errors import PassError
from fleet.optimizer.passes.quantize import Quantize, chooser, layers, left_notes, nodes_of
from fleet.optimizer.passes.sensitivity import Change, leave_out

if TYPE_CHECKING:
    from onnx import ModelProto

    from fleet.optimizer.inputs import Feeds

KINDS = ("Conv", "MatMul", "Gemm")
#: Samples that ranges are taken from.
CALIBRATION = 128
#: From here on, a scale for each channel is in the standard.
PER_CHANNEL_OPSET = 13


class StaticQuantize(msgspec.Struct, frozen=True, tag_field="pass", tag="static_quantize"):
    """Quantize weights and activations; with `keep_sensitive`, leave out the layers that cause most of the error.

    apart: beginnings of names of weights that are left alone (`parts`).
    """

    keep_sensitive: bool = True
    apart: tuple[str, ...] = ()


def static_quantize(
    config: StaticQuantize, model: "ModelProto", folder: Path, samples: Sequence["Feeds"]
) -> tuple["ModelProto", list[str]]:
    """The quantized model, and notes on what stays in float32. Raises PassError when nothing can be quantized."""
    try:
        return _static_quantize(config, _prepared(model, folder, fold=True), folder, samples)
    except ValueError:
        # Folding makes a Gemm of MatMul and Add, and the library takes its scales for each channel for one number.
        return _static_quantize(config, _prepared(model, folder, fold=False), folder, samples)


def _static_quantize(
    config: StaticQuantize, source: Path, folder: Path, samples: Sequence["Feeds"]
) -> tuple["ModelProto", list[str]]:
    import onnx

    prepared = onnx.load(source)
    groups = layers(prepared, KINDS, config.apart)
    if not groups:
        raise PassError("the model has no convolution or matrix multiplication with fixed weights")
    change = _quantizer(source, folder, samples[:CALIBRATION], nodes_of(prepared, config.apart))
    sensitive: list[str] = []
    if config.keep_sensitive:
        sensitive = leave_out(source, folder, groups, samples, change, chooser(Quantize(), groups))
    target = folder / "after.onnx"
    change(target, [node for name in sensitive for node in groups[name].items])
    return onnx.load(target), left_notes(sensitive)


def _prepared(model: "ModelProto", folder: Path, *, fold: bool) -> Path:
    """Written with the shapes that ranges need; with `fold`, normalizations go into the convolutions before them."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, source = folder / "plain.onnx", folder / "before.onnx"
    try:
        opset = next(each.version for each in model.opset_import if each.domain in {"", "ai.onnx"})
        if opset < PER_CHANNEL_OPSET:
            model = onnx.version_converter.convert_version(model, PER_CHANNEL_OPSET)
        onnx.save(model, plain)
        quant_pre_process(plain, source, skip_optimization=not fold, skip_symbolic_shape=True)
    except Exception as problem:  # it meets any model with any kind of error
        said = str(problem).splitlines()[0][:200] if str(problem) else type(problem).__name__
        raise PassError(f"it could not be made ready for quantizing: {said}") from problem
    return source


def _quantizer(source: Path, folder: Path, samples: Sequence["Feeds"], apart: Sequence[str]) -> Change:
    """Takes the ranges once; what it gives quantizes with them, always without `apart`."""
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import create_calibrator
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    calibrator = create_calibrator(
        source,
        op_types_to_calibrate=list(KINDS),
        augmented_model_path=str(folder / "augmented.onnx"),
        calibrate_method=CalibrationMethod.MinMax,
    )
    calibrator.set_execution_providers(["CPUExecutionProvider"])
    calibrator.collect_data(_Reader(samples))
    ranges = calibrator.compute_data()

    def quantize(target: Path, without: Sequence[str]) -> None:
        quantizer = QDQQuantizer(
            onnx.load(source),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=ranges,
            nodes_to_quantize=[],
            nodes_to_exclude=[*apart, *without],
            op_types_to_quantize=list(KINDS),
            extra_options={"MatMulConstBOnly": True},
        )
        quantizer.quantize_model()
        quantizer.model.save_model_to_file(str(target))

    return quantize


class _Reader:
    """Hands the samples to the calibrator, which asks for one at a time."""

    def __init__(self, samples: Sequence["Feeds"]) -> None:
        self._samples: Iterator[Feeds] = iter(samples)

    def get_next(self) -> "Feeds | None":
        return next(self._samples, None)

    def __iter__(self) -> "_Reader":
        return self

    def __next__(self) -> Any:
        return next(self._samples)
