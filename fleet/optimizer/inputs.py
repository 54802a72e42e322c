"""Inputs to measure a model with: an uploaded evaluation set, or what an evaluator or the card can make up.

An evaluation set is an .npz file without pickles: one array per model input, named as the input, samples on the first
axis. `array[i]` is one request; where the model's input has one dimension more, a batch axis is added.
"""

import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One input of a model: numpy's dtype name, and its shape for a batch of one."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def examine(path: Path) -> int:
    """The number of samples of an uploaded evaluation set. Raises IntakeError; reads headers only."""
    try:
        with zipfile.ZipFile(path) as file:
            members = file.infolist()
            size = sum(member.file_size for member in members)
            if not members or len(members) > MAX_ARRAYS or size > MAX_BYTES:
                raise IntakeError(
                    f"the evaluation set has {len(members)} arrays and {size} bytes unpacked; "
                    f"the limits are {MAX_ARRAYS} and {MAX_BYTES}"
                )
            counts = {_header(file, member)[0] for member in members}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as problem:
        raise IntakeError(f"the evaluation set is no .npz file: {problem}") from problem
    if len(counts) != 1 or 0 in counts:
        raise IntakeError("the arrays of the evaluation set must have one and the same number of samples, at least one")
    return counts.pop()


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
        if not shape or math.prod(shape) * dtype.itemsize != member.file_size - stream.tell():
            raise IntakeError(f"{member.filename[:80]} claims the shape {shape} of {dtype}, which is not what it holds")
    return tuple(shape)


def read(path: Path, specs: Sequence[InputSpec]) -> list[Feeds]:
    """The samples of an evaluation set as what the model is fed. Raises IntakeError when they do not fit the model."""
    count = examine(path)
    chosen = np.unique(np.linspace(0, count - 1, min(count, MAX_SAMPLES)).astype(int))
    columns: Feeds = {}
    with np.load(path, allow_pickle=False) as file:
        lacking = {spec.name for spec in specs} - set(file.files)
        if lacking:
            raise IntakeError(
                f"the evaluation set has {', '.join(sorted(file.files))}, the model also takes {', '.join(lacking)}"
            )
        for spec in specs:
            array = file[spec.name][chosen].astype(spec.dtype, copy=False)
            if array.shape[1:] == spec.shape[1:] and len(spec.shape) == array.ndim:
                array = array[:, None]
            if array.shape[1:] != spec.shape:
                raise IntakeError(
                    f"a sample of {spec.name} has the shape {list(array.shape[1:])}, the model takes {list(spec.shape)}"
                )
            columns[spec.name] = array
    return [{name: array[i] for name, array in columns.items()} for i in range(len(chosen))]


def split(batch: Mapping[str, NDArray[Any]]) -> list[Feeds]:
    """A batch as single requests, each with a batch axis of one."""
    count = len(next(iter(batch.values())))
    return [{name: array[i : i + 1] for name, array in batch.items()} for i in range(count)]


def join(samples: Sequence[Feeds]) -> Feeds:
    """Single requests as one batch."""
    return {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}


def synthetic(specs: Sequence[InputSpec], card: Card | None, seed: int = 0) -> list[Feeds]:
    """Made-up inputs, for a model that came with none: through the card where there is one, else plain noise."""
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
    if np.issubdtype(np.dtype(spec.dtype), np.floating):
        return random.normal(0, 1, spec.shape).astype(spec.dtype)
    # Small numbers are valid ids of any vocabulary.
    return random.integers(0, 2, spec.shape).astype(spec.dtype)


def endless(samples: Sequence[Feeds], size: int, seed: int) -> Iterator[Feeds]:
    """Batches drawn from a fixed set, again and again: for a model without a generator of its own."""
    random = np.random.default_rng(seed)
    while True:
        yield join([samples[place] for place in random.integers(0, len(samples), size)])
