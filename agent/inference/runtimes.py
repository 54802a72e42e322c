"""What runs a model file. One protocol; each adapter imports its library only when a model needs it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.generic]]

#: ONNX Runtime's words for tensors that numpy has, and numpy's.
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


class ModelError(RuntimeError):
    """A model that cannot be loaded or run; the message says why."""


class InputError(ValueError):
    """Tensors that do not fit the model; the message says which, and what the model takes."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output: numpy's dtype name, and the shape, None where a size is free.

    dtype is empty for what is no tensor of numbers. An empty shape is a single number, or one that the model leaves
    open: the runtime does not say which.
    """

    dtype: str
    shape: tuple[int | None, ...]

    def takes(self, shape: tuple[int, ...]) -> bool:
        if not self.shape:
            return True
        return len(shape) == len(self.shape) and all(
            wanted is None or wanted == given for wanted, given in zip(self.shape, shape, strict=True)
        )

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.dtype or 'no numbers'} [{sizes}]"


class Runtime(Protocol):
    """A loaded model. inputs and outputs say what it takes and gives, in its own order."""

    @property
    def inputs(self) -> Mapping[str, Tensor]: ...

    @property
    def outputs(self) -> Mapping[str, Tensor]: ...

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


def load(path: Path, threads: int = 1) -> Runtime:
    """The runtime for a model file, loaded. Raises ModelError."""
    if path.suffix != ".onnx":
        raise ModelError(f"There is no runtime for {path.name}; this agent runs .onnx files.")
    return OnnxRuntime(path, threads)


def check(feeds: "Arrays", inputs: Mapping[str, Tensor]) -> None:
    """Raises InputError unless names, dtypes and shapes are those that the model takes."""
    for name in feeds:
        if name not in inputs:
            raise InputError(f"The model has no input {name[:80]!r}; it takes {_words(inputs)}.")
    for name, tensor in inputs.items():
        array = feeds.get(name)
        if array is None:
            raise InputError(f"The input {name!r} is missing; the model takes {_words(inputs)}.")
        if array.dtype.name != tensor.dtype:
            raise InputError(f"The input {name!r} is {array.dtype.name}, the model takes {tensor}.")
        if not tensor.takes(array.shape):
            raise InputError(f"The input {name!r} has the shape {list(array.shape)}, the model takes {tensor}.")


def _words(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name!r} ({tensor})" for name, tensor in tensors.items()) or "nothing"


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
