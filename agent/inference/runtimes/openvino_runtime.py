"""OpenVINO, where it is installed: faster than ONNX Runtime on many processors, at some 50 MB more of memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.inference.runtimes import ModelError, Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from agent.inference.runtimes import Arrays

_DTYPES = frozenset(
    ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
)


def devices() -> list[str]:
    """CPU, GPU, NPU, …: what OpenVINO finds here."""
    import openvino

    return [str(name) for name in openvino.Core().available_devices]


class OpenVino:
    """Set for one decision at a time, and for the numbers that the model was measured with. Raises ModelError."""

    def __init__(self, path: Path, threads: int, device: str = "CPU") -> None:
        try:
            import openvino
        except ImportError as problem:
            raise ModelError("OpenVINO is not installed here: pip install 'edgefleet-agent[openvino]'.") from problem
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            # Left alone it computes in bfloat16 where the processor can, and multiplies narrow weights in int8.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if device == "CPU":
            settings |= {
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "ENABLE_CPU_PINNING": False,
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            }
        try:
            compiled = openvino.Core().compile_model(str(path), device, settings)
            self._inputs, self._outputs = _tensors(compiled.inputs), _tensors(compiled.outputs)
            self._request = compiled.create_infer_request()
        except Exception as problem:  # the library raises RuntimeError, or its own
            raise ModelError(f"The model does not load: {_last_line(problem)}") from problem
        self._places = list(self._outputs)

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, Tensor]:
        return self._outputs

    def run(self, feeds: "Arrays") -> "dict[str, NDArray[np.generic]]":
        try:
            # The inputs are shared; the outputs are copies: the next run writes over the request's own.
            values = self._request.infer(dict(feeds), share_inputs=True)
            return {name: values[place] for place, name in enumerate(self._places)}
        except Exception as problem:  # as above
            raise ModelError(f"The model does not run: {_last_line(problem)}") from problem


def _tensors(ports: Any) -> dict[str, Tensor]:
    return {str(port.any_name): Tensor(_dtype(port.element_type), _shape(port.partial_shape)) for port in ports}


def _dtype(kind: Any) -> str:
    try:
        name = str(kind.to_dtype().name)
    except Exception:  # a kind that numpy has not
        return ""
    return name if name in _DTYPES else ""


def _shape(partial: Any) -> tuple[int | None, ...]:
    if partial.rank.is_dynamic:
        return ()
    return tuple(int(size.get_length()) if size.is_static else None for size in partial)


def _last_line(problem: Exception) -> str:
    """OpenVINO says first where in its source it was, and at the end what was wrong."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return lines[-1][:500] if lines else type(problem).__name__
