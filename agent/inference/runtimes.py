"""What runs a model file. One protocol; each adapter imports its library only when a model needs it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.generic]]


class ModelError(RuntimeError):
    """A model that cannot be loaded or run; the message says why."""


class Runtime(Protocol):
    """A loaded model."""

    @property
    def inputs(self) -> frozenset[str]: ...

    def run(self, feeds: "Arrays") -> "dict[str, NDArray[np.generic]]":
        """All outputs by name. Raises ModelError when the feeds do not fit or the model breaks."""
        ...


class OnnxRuntime:
    """ONNX Runtime on the processor, set for little memory and for leaving the cores alone between decisions."""

    def __init__(self, path: Path, threads: int) -> None:
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
        try:
            # From the path: loading from bytes adds the model's size to the peak.
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as problem:  # the library has a dozen exception classes with no base of their own
            raise ModelError(f"The model does not load: {_first_line(problem)}") from problem
        self._inputs = frozenset(each.name for each in self._session.get_inputs())
        self._outputs = [each.name for each in self._session.get_outputs()]

    @property
    def inputs(self) -> frozenset[str]:
        return self._inputs

    def run(self, feeds: "Arrays") -> "dict[str, NDArray[np.generic]]":
        try:
            values: list[Any] = self._session.run(self._outputs, dict(feeds))
        except Exception as problem:  # as above
            raise ModelError(f"The model does not run: {_first_line(problem)}") from problem
        return dict(zip(self._outputs, values, strict=True))


def load(path: Path, threads: int = 1) -> Runtime:
    """The runtime for a model file, loaded. Raises ModelError."""
    if path.suffix != ".onnx":
        raise ModelError(f"There is no runtime for {path.name}; this agent runs .onnx files.")
    return OnnxRuntime(path, threads)


def _first_line(problem: Exception) -> str:
    return str(problem).strip().splitlines()[0][:500] if str(problem).strip() else type(problem).__name__
