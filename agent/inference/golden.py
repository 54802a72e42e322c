"""Golden observations: inputs with the outputs that the server measured for them.

An .npz file without pickles holds arrays `input/<name>` and `output/<name>`; their first axis counts the samples, and
`array[i]` is fed to the model exactly as it is.
"""

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

MAX_BYTES = 256 * 1024**2
MAX_ARRAYS = 64


class GoldenError(ValueError):
    """Golden observations that cannot be read or do not fit together."""


@dataclass(frozen=True, slots=True)
class Golden:
    """inputs and outputs by name, each [samples, ...]."""

    inputs: Mapping[str, NDArray[np.generic]]
    outputs: Mapping[str, NDArray[np.generic]]
    samples: int

    def feeds(self, number: int) -> dict[str, NDArray[np.generic]]:
        """What sample `number` (taken modulo the count) feeds to the model."""
        # A single number has to stay an array: the runtime takes nothing else.
        return {name: np.asarray(array[number % self.samples]) for name, array in self.inputs.items()}


def read(path: Path) -> Golden:
    """Raises GoldenError; sizes are checked before anything is unpacked."""
    arrays: dict[str, NDArray[np.generic]] = {}
    try:
        with zipfile.ZipFile(path) as file:
            members = file.infolist()
            if len(members) > MAX_ARRAYS or sum(member.file_size for member in members) > MAX_BYTES:
                raise GoldenError(f"the golden observations have more than {MAX_ARRAYS} arrays or {MAX_BYTES} bytes")
            for member in members:
                with file.open(member) as stream:
                    _check_header(stream, member)
                with file.open(member) as stream:
                    arrays[member.filename.removesuffix(".npy")] = npy.read_array(stream, allow_pickle=False)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, NotImplementedError) as problem:
        raise GoldenError(f"the golden observations cannot be read: {problem}") from problem
    return _sorted(arrays)


def _check_header(stream: IO[bytes], member: zipfile.ZipInfo) -> None:
    """The shape that an array claims must be the bytes that it has: numpy makes room for the claim first."""
    version = npy.read_magic(stream)
    reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if reader is None:
        raise GoldenError(f"{member.filename} has the unknown array format {version}")
    shape, _, dtype = reader(stream)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != member.file_size - stream.tell():
        raise GoldenError(f"{member.filename} claims the shape {shape} of {dtype}, which is not what it holds")


def _sorted(arrays: Mapping[str, NDArray[np.generic]]) -> Golden:
    sides: dict[str, dict[str, NDArray[np.generic]]] = {"input": {}, "output": {}}
    for key, array in arrays.items():
        side, _, name = key.partition("/")
        if side not in sides or not name or array.ndim < 1:
            raise GoldenError(f"the golden observations have the array {key!r}, not input/… or output/…")
        sides[side][name] = array
    counts = {len(array) for array in arrays.values()}
    if not sides["input"] or not sides["output"] or len(counts) != 1 or 0 in counts:
        raise GoldenError("the golden observations need inputs and outputs of one and the same number of samples")
    return Golden(sides["input"], sides["output"], counts.pop())


def largest_error(outputs: Mapping[str, NDArray[np.generic]], golden: Golden, number: int) -> float:
    """The largest absolute difference of one run's outputs. Raises GoldenError on a missing one, a shape or NaN."""
    largest = 0.0
    for name, expected in golden.outputs.items():
        found = outputs.get(name)
        if found is None or found.shape != expected.shape[1:]:
            shape = "is missing" if found is None else f"has shape {list(found.shape)}"
            raise GoldenError(f"The output {name} {shape}, expected was {list(expected.shape[1:])}.")
        answered = np.asarray(found, np.float64)
        if not np.isfinite(answered).all():
            raise GoldenError("The model answered with NaN or infinity.")
        difference = np.abs(answered - np.asarray(expected[number % golden.samples], np.float64))
        largest = max(largest, float(difference.max(initial=0.0)))
    return largest
