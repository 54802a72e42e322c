"""ONNX Runtime, with any of the execution providers that its build brings."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.inference.runtimes import ModelError, Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from agent.inference.runtimes import Arrays

#: What ONNX Runtime calls tensors of what numpy has, and numpy's name.
_DTYPES = {
    "tensor(bool)": "bool",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}
_ENDING = "ExecutionProvider"
#: Azure's sends the observation to a server: never here.
_NEVER = ("CPU", "Azure")


def providers() -> list[str]:
    """Execution providers of this build beside the processor's, without their ending: CUDA, Tensorrt, OpenVINO, …"""
    import onnxruntime

    names = [name.removesuffix(_ENDING) for name in onnxruntime.get_available_providers()]
    return [name for name in names if name not in _NEVER]


class OnnxRuntime:
    """Set for little memory and for leaving the cores alone between decisions. Raises ModelError."""

    def __init__(self, path: Path, threads: int, provider: str = "CPU") -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        # The arena never gives memory back, and a pattern per input shape is planned for shapes that never change.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        # Spinning threads would burn a core between two decisions.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        wanted = list(dict.fromkeys((f"{provider}{_ENDING}", f"CPU{_ENDING}")))
        if wanted[0] not in onnxruntime.get_available_providers():
            raise ModelError(f"This build of ONNX Runtime has no {provider}.")
        try:
            # From the path: loading from bytes adds the model's size to the peak.
            self._session = onnxruntime.InferenceSession(str(path), options, providers=wanted)
        except Exception as problem:  # the library has a dozen exception classes with no base of their own
            raise ModelError(f"The model does not load: {_first_line(problem)}") from problem
        # A provider whose libraries are missing is passed over with a warning, and the processor takes its place.
        if self._session.get_providers()[0] != wanted[0]:
            raise ModelError(f"ONNX Runtime finds no {provider} on this device.")
        self._inputs = _tensors(self._session.get_inputs())
        self._outputs = _tensors(self._session.get_outputs())
        self._names = list(self._outputs)

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, Tensor]:
        return self._outputs

    def run(self, feeds: "Arrays") -> "dict[str, NDArray[np.generic]]":
        try:
            values: list[Any] = self._session.run(self._names, dict(feeds))
        except Exception as problem:  # as above
            raise ModelError(f"The model does not run: {_first_line(problem)}") from problem
        return dict(zip(self._names, values, strict=True))


def _tensors(values: list[Any]) -> dict[str, Tensor]:
    return {
        each.name: Tensor(
            _DTYPES.get(each.type, ""),
            tuple(size if isinstance(size, int) and size >= 0 else None for size in each.shape),
        )
        for each in values
    }


def _first_line(problem: Exception) -> str:
    """What the runtime said, without the file's place, which tells nobody anything."""
    said = re.sub(r"Load model from \S+ failed:\s*", "", str(problem)).strip()
    return said.splitlines()[0][:500] if said else type(problem).__name__
