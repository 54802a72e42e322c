"""Inputs to measure a model with: an uploaded evaluation set, or what an evaluator or the card can make up.

An evaluation set is one array per model input, named as the input, samples on the first axis, in an .npz file without
pickles or in safetensors. `array[i]` is one request; where the model's input has one dimension more, a batch axis is
added. Arrays named `expected/<output>` are the right answers, and optional.
"""

import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from agent.inference.policy_card import Card, Codec, ImageInput, Observation, StateInput
from fleet.optimizer.errors import IntakeError

Feeds = dict[str, NDArray[Any]]

MAX_BYTES = 2 * 1024**3
MAX_ARRAYS = 64
#: Samples that are taken of a larger set: enough for fidelity, and each costs a decision for every candidate.
MAX_SAMPLES = 256
SYNTHETIC_SAMPLES = 64
EXPECTED = "expected/"


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a model: numpy's dtype name, and its shape; None where a size is free."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    @property
    def batched(self) -> bool:
        """Whether its first dimension is a batch, of one or of any number."""
        return bool(self.shape) and self.shape[0] in {None, 1}

    @property
    def words(self) -> str:
        return f"[{', '.join('any' if size is None else str(size) for size in self.shape)}]"

    def takes(self, shape: Sequence[int]) -> bool:
        return len(shape) == len(self.shape) and all(
            size in {None, given} for size, given in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Samples:
    """What a model is measured with: the requests, and the right answer of each where they are known."""

    feeds: list[Feeds]
    expected: list[Feeds] | None = None


# --- An uploaded set ------------------------------------------------------------------------------------------------


def examine(path: Path) -> int:
    """The number of samples of an uploaded evaluation set. Raises IntakeError; reads headers only."""
    shapes = _safetensors_shapes(path) if _is_safetensors(path) else _npz_shapes(path)
    counts = {shape[0] if shape else 0 for shape in shapes.values()}
    if len(counts) != 1 or 0 in counts:
        raise IntakeError("the arrays of the evaluation set must have one and the same number of samples, at least one")
    return counts.pop()


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            _bound(len(names), path.stat().st_size)
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError, ValueError) as problem:
        raise IntakeError(f"the evaluation set is no safetensors file: {problem}") from problem


def _npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        with zipfile.ZipFile(path) as file:
            members = file.infolist()
            _bound(len(members), sum(member.file_size for member in members))
            return {member.filename: _header(file, member) for member in members}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as problem:
        raise IntakeError(f"the evaluation set is neither an .npz nor a safetensors file: {problem}") from problem


def _bound(arrays: int, size: int) -> None:
    if not arrays:
        raise IntakeError("the evaluation set has no arrays: one for each of the model's inputs is needed")
    if arrays > MAX_ARRAYS or size > MAX_BYTES:
        raise IntakeError(
            f"the evaluation set has {arrays} arrays and {size} bytes unpacked; "
            f"the limits are {MAX_ARRAYS} and {MAX_BYTES}"
        )


def _header(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[int, ...]:
    """The shape that an array claims, when it is what its bytes hold: numpy makes room for the claim first."""
    with file.open(member) as stream:
        version = npy.read_magic(stream)
        reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if reader is None:
            raise IntakeError(f"{member.filename[:80]} has the unknown array format {version}")
        shape, _, dtype = reader(stream)
        if dtype.hasobject:
            raise IntakeError(f"{member.filename[:80]} holds pickled objects, which are not accepted")
        if not shape:
            raise IntakeError(f"{member.filename[:80]} is a single number: samples lie on the first axis")
        if math.prod(shape) * dtype.itemsize != member.file_size - stream.tell():
            raise IntakeError(f"{member.filename[:80]} claims the shape {shape} of {dtype}, which is not what it holds")
    return tuple(shape)


def read(path: Path, specs: Sequence[InputSpec]) -> Samples:
    """The samples of an evaluation set as what the model is fed. Raises IntakeError when they do not fit the model."""
    count = examine(path)
    chosen = np.unique(np.linspace(0, count - 1, min(count, MAX_SAMPLES)).astype(int))
    arrays = _arrays(path, chosen)
    lacking = {spec.name for spec in specs} - set(arrays)
    if lacking:
        raise IntakeError(f"the evaluation set has {named(arrays)}, the model also takes {named(lacking)}")
    unknown = {name for name in arrays if not name.startswith(EXPECTED)} - {spec.name for spec in specs}
    if unknown:
        raise IntakeError(
            f"the model has no input {named(unknown)}; it takes {named(spec.name for spec in specs)}, "
            f"and right answers are named {EXPECTED}<output>"
        )
    columns = {spec.name: _fitted(arrays[spec.name], spec) for spec in specs}
    answers = {name.removeprefix(EXPECTED): array for name, array in arrays.items() if name.startswith(EXPECTED)}
    return Samples(rows(columns, len(chosen)), rows(answers, len(chosen)) if answers else None)


def named(names: Iterable[str]) -> str:
    """Names for a sentence, whatever their length."""
    return ", ".join(name[:80] for name in sorted(names))


def _arrays(path: Path, chosen: NDArray[np.intp]) -> Feeds:
    if _is_safetensors(path):
        from safetensors.numpy import load_file

        return {name: array[chosen] for name, array in load_file(path).items()}
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name][chosen] for name in file.files}


def _fitted(array: NDArray[Any], spec: InputSpec) -> NDArray[Any]:
    array = _as(array, spec)
    sample = array.shape[1:]
    if spec.takes(sample):
        return array
    if spec.takes((1, *sample)):
        return array[:, None]
    raise IntakeError(f"a sample of {spec.name} has the shape {list(sample)}, the model takes {spec.words}")


def _as(array: NDArray[Any], spec: InputSpec) -> NDArray[Any]:
    """The array in the input's own type, as long as that says the same."""
    name, wanted = spec.name[:80], np.dtype(spec.dtype)
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool) or np.iscomplexobj(array):
        raise IntakeError(f"the evaluation set's {name} holds {array.dtype}, the model takes {spec.dtype}")
    if np.issubdtype(array.dtype, np.floating) and np.isnan(array).any():
        place = int(np.argwhere(np.isnan(array))[0][0])
        raise IntakeError(f"the evaluation set's {name} holds NaN, first in sample {place}")
    if np.issubdtype(wanted, np.integer) and not np.array_equal(array, np.trunc(array)):
        raise IntakeError(f"the evaluation set's {name} holds fractions, the model takes {spec.dtype}")
    return array.astype(wanted, copy=False)


def rows(columns: Mapping[str, NDArray[Any]], count: int) -> list[Feeds]:
    """Samples on the first axis as one dict each; a single number stays an array, which is what a runtime takes."""
    return [{name: np.asarray(array[i]) for name, array in columns.items()} for i in range(count)]


# --- Batches and made-up inputs -------------------------------------------------------------------------------------


def split(batch: Mapping[str, NDArray[Any]]) -> list[Feeds]:
    """A batch as single requests, each with a batch axis of one."""
    count = len(next(iter(batch.values())))
    return [{name: array[i : i + 1] for name, array in batch.items()} for i in range(count)]


def join(samples: Sequence[Feeds]) -> Feeds:
    """Single requests as one batch."""
    return {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}


def synthetic(specs: Sequence[InputSpec], card: Card | None, seed: int = 0) -> list[Feeds]:
    """Made-up inputs, for a model that came with none: through the card where there is one, else plain noise.

    Raises IntakeError for an input with a size that nobody has named.
    """
    random = np.random.default_rng(seed)
    if card is not None and {spec.name for spec in specs} == set(card.inputs):
        return [Codec(card).feeds(_observation(card, random)) for _ in range(SYNTHETIC_SAMPLES)]
    return [{spec.name: _noise(spec, random) for spec in specs} for _ in range(SYNTHETIC_SAMPLES)]


def _observation(card: Card, random: np.random.Generator) -> Observation:
    size = next(((i.height, i.width) for i in card.inputs.values() if isinstance(i, ImageInput)), (8, 8))
    numbers = next((i.size for i in card.inputs.values() if isinstance(i, StateInput)), 1)
    words = card.tokenizer.vocabulary[1:] if card.tokenizer else ()
    text = " ".join(str(word) for word in random.choice(words, min(2, len(words)))) if words else ""
    image = random.integers(0, 256, (*size, 3), dtype=np.uint8)
    return Observation(image, text, random.normal(0, 1, numbers).astype(np.float32))


def _noise(spec: InputSpec, random: np.random.Generator) -> NDArray[Any]:
    free = [place for place, size in enumerate(spec.shape) if size is None and place]
    if free:
        raise IntakeError(
            f"the input {spec.name[:80]!r} has no fixed size in dimension {free[0]}: bring an evaluation set, "
            "whose samples say how large it is"
        )
    shape = [size or 1 for size in spec.shape]
    if np.issubdtype(np.dtype(spec.dtype), np.floating):
        return np.asarray(random.normal(0, 1, shape)).astype(spec.dtype)
    # Small numbers are valid ids of any vocabulary.
    return np.asarray(random.integers(0, 2, shape)).astype(spec.dtype)


def endless(samples: Sequence[Feeds], size: int, seed: int) -> Iterator[Feeds]:
    """Batches drawn from a fixed set, again and again: for a model without a generator of its own."""
    random = np.random.default_rng(seed)
    while True:
        yield join([samples[place] for place in random.integers(0, len(samples), size)])
