"""What runs a model file: one protocol, and an adapter for each library, which is imported when a model needs it.

All run the same `.onnx` file. ONNX Runtime is always there, OpenVINO where it is installed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.generic]]


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


@dataclass(frozen=True, slots=True)
class Backend:
    """A library, and what it uses: ONNX Runtime's execution provider, or OpenVINO's device."""

    runtime: str = "onnxruntime"
    provider: str = "CPU"

    def __str__(self) -> str:
        return f"{_NAMES.get(self.runtime, self.runtime)} on {self.provider}"


_NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
DEFAULT = Backend()


class Runtime(Protocol):
    """A loaded model. inputs and outputs say what it takes and gives, in its own order."""

    @property
    def inputs(self) -> Mapping[str, Tensor]: ...

    @property
    def outputs(self) -> Mapping[str, Tensor]: ...

    def run(self, feeds: "Arrays") -> "dict[str, NDArray[np.generic]]":
        """All outputs by name. Raises ModelError when the feeds do not fit or the model breaks."""
        ...


def load(path: Path, threads: int = 1, backend: Backend = DEFAULT) -> Runtime:
    """A model file, loaded. Raises ModelError, also when the backend is not there or cannot run this model."""
    if path.suffix != ".onnx":
        raise ModelError(f"There is no runtime for {path.name}; this agent runs .onnx files.")
    if backend.runtime == "onnxruntime":
        from agent.inference.runtimes.onnx_runtime import OnnxRuntime

        return OnnxRuntime(path, threads, backend.provider)
    if backend.runtime == "openvino":
        from agent.inference.runtimes.openvino_runtime import OpenVino

        return OpenVino(path, threads, backend.provider)
    raise ModelError(f"This agent has no runtime {backend.runtime[:40]!r}.")


def others() -> list[Backend]:
    """Every backend beside the default one that the libraries say is here. Imports them: call it in a child."""
    from agent.inference.runtimes import onnx_runtime

    found = [Backend("onnxruntime", provider) for provider in onnx_runtime.providers()]
    if find_spec("openvino") is not None:
        from agent.inference.runtimes import openvino_runtime

        found += [Backend("openvino", device) for device in openvino_runtime.devices()]
    return found


def installed() -> tuple[str, ...]:
    """Names and versions of the libraries that could run a model, without importing any of them.

    By the names of their `.dist-info` folders: `importlib.metadata` would cost 2 MB of memory to say the same.
    """
    names: set[str] = set()
    for package in ("onnxruntime", "openvino"):
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            names.update(path.stem for path in Path(spec.origin).parents[1].glob(f"{package}*.dist-info"))
    return tuple(sorted(names))


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
