"""`POST /act`: JSON to what a policy sees, and its actions to JSON."""

import math
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.inference.inference_engine import LoadedModel
from agent.inference.policy_card import (
    Card,
    Floats,
    ImageInput,
    InstructionInput,
    Observation,
    StateInput,
    blank,
    resized,
)
from agent.inference.runtimes import InputError

Side = Annotated[int, msgspec.Meta(ge=1, le=4096)]
Level = Annotated[int, msgspec.Meta(ge=0, le=255)]


class RawImage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """RGB bytes in base64, row by row: height x width x 3 of them."""

    height: Side
    width: Side
    data: bytes


class ActRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """image: raw, or nested lists [height][width][red, green, blue]. What the model does not take may be left out.

    within_ms: a request that has not been begun by then is refused. heavy: in hybrid mode, ask the server first.
    """

    image: RawImage | list[list[tuple[Level, Level, Level]]] | None = None
    instruction: Annotated[str, msgspec.Meta(max_length=4096)] | None = None
    state: Annotated[list[float], msgspec.Meta(max_length=16_384)] | None = None
    within_ms: Annotated[float, msgspec.Meta(ge=0, le=3_600_000)] | None = None
    heavy: bool = False


class ActReply(msgspec.Struct, frozen=True):
    """execute is how many of the rows are to be carried out before the next request."""

    actions: list[list[float]]
    execute: int
    names: tuple[str, ...]
    model_name: str
    model_version: str


_REQUEST = msgspec.json.Decoder(ActRequest)
_REPLY = msgspec.json.Decoder(ActReply)
_ENCODER = msgspec.json.Encoder()


def decode(body: bytes | bytearray) -> ActRequest:
    """Raises InputError with a sentence."""
    try:
        return _REQUEST.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise InputError(f"The request is not valid: {problem}.") from problem


def read(body: bytes | bytearray, card: Card) -> Observation:
    """Raises InputError with a sentence."""
    return observed(decode(body), card)


def observed(request: ActRequest, card: Card) -> Observation:
    """What the model is to see. Raises InputError when the request lacks something that the model takes."""
    for kind, given, words in (
        (ImageInput, request.image, "an image"),
        (InstructionInput, request.instruction, "an instruction"),
        (StateInput, request.state, "a state"),
    ):
        if given is None and any(isinstance(spec, kind) for spec in card.inputs.values()):
            raise InputError(f"The model needs {words}; the request has none.")
    empty = blank(card)
    return Observation(
        empty.image if request.image is None else _pixels(request.image),
        request.instruction or "",
        empty.state if request.state is None else np.array(request.state, np.float32),
    )


def write(actions: Floats, model: LoadedModel, card: Card) -> bytes:
    wanted = card.actions
    return _ENCODER.encode(ActReply(actions.tolist(), wanted.execute, wanted.names, model.name, model.version))


def encode(observation: Observation, card: Card) -> bytes:
    """A request for another engine with the same card. No more of the image than the model looks at."""
    inputs = card.inputs.values()
    sizes = {(spec.height, spec.width) for spec in inputs if isinstance(spec, ImageInput)}
    image, words, state = None, None, None
    if sizes:
        pixels = observation.image
        if len(sizes) == 1 and pixels.shape[:2] != (size := sizes.pop()):
            pixels = resized(pixels, *size)
        image = RawImage(pixels.shape[0], pixels.shape[1], np.ascontiguousarray(pixels).tobytes())
    if any(isinstance(spec, InstructionInput) for spec in inputs):
        words = observation.instruction
    if any(isinstance(spec, StateInput) for spec in inputs):
        state = observation.state.tolist()
    return _ENCODER.encode(ActRequest(image, words, state))


def read_reply(body: bytes) -> ActReply:
    """Raises ValueError with a sentence for what is no reply."""
    try:
        reply = _REPLY.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise ValueError(f"it is no reply to a request for actions: {problem}") from problem
    if not reply.actions or not all(math.isfinite(value) for row in reply.actions for value in row):
        raise ValueError("it holds no actions, or NaN or infinity")
    return reply


def chunk(reply: ActReply, model: LoadedModel, card: Card) -> Floats:
    """The actions of a reply, as `model` itself would have given them. Raises ValueError with a sentence."""
    wanted = card.actions
    if (reply.model_name, reply.model_version) != (model.name, model.version):
        raise ValueError(f"it is of {reply.model_name}@{reply.model_version}, not of {model.name}@{model.version}")
    if len(reply.actions) != wanted.chunk or any(len(row) != wanted.size for row in reply.actions):
        raise ValueError(f"its actions are not {wanted.chunk} x {wanted.size} numbers")
    actions = np.array(reply.actions, np.float32)
    if (actions < np.asarray(wanted.low, np.float32)).any() or (actions > np.asarray(wanted.high, np.float32)).any():
        raise ValueError("an action is beyond its limits")
    return actions


def _pixels(image: RawImage | list[list[tuple[int, int, int]]]) -> NDArray[np.uint8]:
    if isinstance(image, RawImage):
        wanted = image.height * image.width * 3
        if len(image.data) != wanted:
            raise InputError(
                f"An image of {image.height} x {image.width} has {wanted} bytes of RGB, this one has {len(image.data)}."
            )
        return np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3)
    width = len(image[0]) if image else 0
    if not width or len(image) > 4096 or width > 4096 or any(len(row) != width for row in image):
        raise InputError("The rows of an image are of one length, from 1 to 4096, and there are as many at most.")
    return np.array(image, np.uint8)
