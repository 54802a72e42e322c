"""The policy card: how an observation becomes a model's inputs, and its output a chunk of actions.

The device and the server's evaluation read a card with this one piece of code, so what was measured is what runs.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Size = Annotated[int, msgspec.Meta(ge=1, le=16_384)]

MAX_CARD = 4 * 1024 * 1024


class CardError(ValueError):
    """A card that cannot be read, or an observation that it does not allow."""


class ImageInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="image"):
    """uint8 RGB [height, width, 3] → float32 [1, 3, height, width] (NCHW) or [1, height, width, 3] (NHWC).

    value = (pixel * scale - mean) / std, per colour channel.
    """

    height: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    width: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


class InstructionInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="instruction"):
    """Text → token ids, int64 [1, length], padded with 0."""

    length: Size


class StateInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="state"):
    """The robot's own state → float32 [1, size]; value = (state - mean) / std where they are given."""

    size: Size
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


class WordTokenizer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="words"):
    """One token per word, its place in the vocabulary; place 0 is padding. A word that is not there is refused."""

    vocabulary: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=200_000)]


class ActionOutput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The output named `output`: float [1, chunk, size], clamped to [low, high]; `execute` rows are carried out."""

    output: Name
    chunk: Size
    size: Size
    execute: Size
    low: tuple[float, ...]
    high: tuple[float, ...]
    names: tuple[str, ...] = ()


class StageBudgets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Milliseconds that a stage of a decision should not exceed; the whole one has the card's deadline."""

    preprocess_ms: Annotated[float, msgspec.Meta(gt=0, le=60_000)] = 50.0
    compute_ms: Annotated[float, msgspec.Meta(gt=0, le=60_000)] = 30.0


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a policy takes, gives and promises. `parts` names the weights (by prefix) of each part of the model."""

    schema: Literal[1] = 1
    name: Name
    description: Annotated[str, msgspec.Meta(max_length=2000)] = ""
    rate_hz: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 5.0
    deadline_ms: Annotated[float, msgspec.Meta(gt=0, le=60_000)] = 100.0
    inputs: Annotated[dict[Name, ImageInput | InstructionInput | StateInput], msgspec.Meta(min_length=1, max_length=32)]
    actions: ActionOutput
    tokenizer: WordTokenizer | None = None
    parts: dict[str, tuple[str, ...]] = {}
    budgets: StageBudgets = StageBudgets()


def read(data: bytes) -> Card:
    """Parse and check a card. Raises CardError with the field that is wrong."""
    if len(data) > MAX_CARD:
        raise CardError(f"the policy card has {len(data)} bytes, the limit is {MAX_CARD}")
    try:
        card = msgspec.json.decode(data, type=Card)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise CardError(f"the policy card is not valid: {problem}") from problem
    for bound in ("low", "high"):
        if len(getattr(card.actions, bound)) != card.actions.size:
            raise CardError(f"actions.{bound} has {len(getattr(card.actions, bound))} numbers, not {card.actions.size}")
    if card.actions.execute > card.actions.chunk:
        raise CardError(f"actions.execute is {card.actions.execute}, more than the chunk of {card.actions.chunk}")
    for name, spec in card.inputs.items():
        if isinstance(spec, InstructionInput) and card.tokenizer is None:
            raise CardError(f"input {name} is an instruction, but the card has no tokenizer")
        if isinstance(spec, StateInput):
            for field in ("mean", "std"):
                given = getattr(spec, field)
                if given and len(given) != spec.size:
                    raise CardError(f"inputs.{name}.{field} has {len(given)} numbers, not {spec.size}")
    return card


@dataclass(frozen=True, slots=True)
class Observation:
    """What a policy sees: image uint8 [height, width, 3] RGB, the instruction's words, the state float32 [n]."""

    image: NDArray[np.uint8]
    instruction: str
    state: Floats


def blank(card: Card) -> Observation:
    """An observation of the right sizes that shows nothing: a black image, no words, zeros."""
    sizes = [spec.size for spec in card.inputs.values() if isinstance(spec, StateInput)]
    return Observation(np.zeros((8, 8, 3), np.uint8), "", np.zeros(max(sizes, default=0), np.float32))


class Codec:
    """A card made ready: everything that can be computed once is computed here."""

    def __init__(self, card: Card) -> None:
        self.card = card
        words = card.tokenizer.vocabulary if card.tokenizer else ()
        self._token = {word: place for place, word in enumerate(words)}
        self._low = np.asarray(card.actions.low, np.float32)
        self._high = np.asarray(card.actions.high, np.float32)
        self._nothing = blank(card)

    def observation(
        self, image: "Observation | NDArray[np.uint8]", instruction: str = "", state: "Floats | None" = None
    ) -> Observation:
        """What was seen, in one piece; a state that is not given is zeros."""
        if isinstance(image, Observation):
            return image
        seen = self._nothing.state if state is None else np.asarray(state, np.float32)
        return Observation(np.asarray(image), instruction, seen)

    def feeds(self, observation: Observation) -> dict[str, NDArray[np.generic]]:
        """The model's inputs, batch of one. Raises CardError when the observation does not fit the card."""
        made: dict[str, NDArray[np.generic]] = {}
        for name, spec in self.card.inputs.items():
            if isinstance(spec, ImageInput):
                made[name] = _image(observation.image, spec)
            elif isinstance(spec, InstructionInput):
                made[name] = self._tokens(observation.instruction, spec)
            else:
                made[name] = _state(observation.state, spec)
        return made

    def actions(self, output: NDArray[np.generic]) -> Floats:
        """[chunk, size] within the limits. Raises CardError on another shape, FloatingPointError on NaN or infinity."""
        wanted = (1, self.card.actions.chunk, self.card.actions.size)
        if output.shape != wanted:
            raise CardError(f"the model answered with shape {list(output.shape)}, the card says {list(wanted)}")
        chunk = np.asarray(output[0], np.float32)
        if not np.isfinite(chunk).all():
            raise FloatingPointError("the model answered with NaN or infinity")
        return np.clip(chunk, self._low, self._high)

    def _tokens(self, instruction: str, spec: InstructionInput) -> NDArray[np.int64]:
        words = instruction.lower().split()
        if len(words) > spec.length:
            raise CardError(f"the instruction has {len(words)} words, the model takes {spec.length}")
        made = np.zeros((1, spec.length), np.int64)
        for place, word in enumerate(words):
            if word not in self._token:
                raise CardError(f"the model does not know the word {word[:40]!r}")
            made[0, place] = self._token[word]
        return made


def _image(image: NDArray[np.uint8], spec: ImageInput) -> Floats:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise CardError(f"an image is uint8 [height, width, 3], not {image.dtype} {list(image.shape)}")
    if image.shape[:2] != (spec.height, spec.width):
        image = resized(image, spec.height, spec.width)
    pixels = image.astype(np.float32)
    pixels *= np.float32(spec.scale)
    if any(spec.mean):
        pixels -= np.asarray(spec.mean, np.float32)
    if spec.std != (1.0, 1.0, 1.0):
        pixels /= np.asarray(spec.std, np.float32)
    if spec.layout == "NCHW":
        pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return pixels[None]


def resized(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Bilinear, pixel centres aligned (as OpenCV's INTER_LINEAR): uint8 [h, w, 3] → uint8 [height, width, 3]."""
    rows = np.clip((np.arange(height) + 0.5) * image.shape[0] / height - 0.5, 0, image.shape[0] - 1)
    columns = np.clip((np.arange(width) + 0.5) * image.shape[1] / width - 0.5, 0, image.shape[1] - 1)
    top, left = rows.astype(int), columns.astype(int)
    bottom, right = np.minimum(top + 1, image.shape[0] - 1), np.minimum(left + 1, image.shape[1] - 1)
    down = (rows - top)[:, None, None].astype(np.float32)
    across = (columns - left)[None, :, None].astype(np.float32)
    upper = image[top][:, left] * (1 - across) + image[top][:, right] * across
    lower = image[bottom][:, left] * (1 - across) + image[bottom][:, right] * across
    made: NDArray[np.uint8] = np.rint(upper * (1 - down) + lower * down).astype(np.uint8)
    return made


def _state(state: Floats, spec: StateInput) -> Floats:
    if state.shape != (spec.size,):
        raise CardError(f"the state has shape {list(state.shape)}, the card says [{spec.size}]")
    made = np.asarray(state, np.float32)
    if not np.isfinite(made).all():
        raise CardError("the state holds NaN or infinity")
    if spec.mean:
        made = np.subtract(made, np.asarray(spec.mean, np.float32), dtype=np.float32)
    if spec.std:
        made = np.divide(made, np.asarray(spec.std, np.float32), dtype=np.float32)
    return made[None]
