"""`POST /act`: JSON to what a policy sees, and its actions to JSON."""

from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.inference.inference_engine import LoadedModel
from agent.inference.policy_card import Card, Floats, ImageInput, InstructionInput, Observation, StateInput, blank
from agent.inference.runtimes import InputError

Side = Annotated[int, msgspec.Meta(ge=1, le=4096)]
Level = Annotated[int, msgspec.Meta(ge=0, le=255)]


class RawImage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """RGB bytes in base64, row by row: height x width x 3 of them."""

    height: Side
    width: Side
    data: bytes


class ActRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """image: raw, or nested lists [height][width][red, green, blue]. What the model does not take may be left out."""

    image: RawImage | list[list[tuple[Level, Level, Level]]] | None = None
    instruction: Annotated[str, msgspec.Meta(max_length=4096)] | None = None
    state: Annotated[list[float], msgspec.Meta(max_length=16_384)] | None = None


_REQUEST = msgspec.json.Decoder(ActRequest)
_ENCODER = msgspec.json.Encoder()


def read(body: bytes | bytearray, card: Card) -> Observation:
    """Raises InputError with a sentence."""
    try:
        request = _REQUEST.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise InputError(f"The request is not valid: {problem}.") from problem
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
    """execute is how many of the rows are to be carried out before the next request."""
    return _ENCODER.encode(
        {
            "actions": actions.tolist(),
            "execute": card.actions.execute,
            "names": card.actions.names,
            "model_name": model.name,
            "model_version": model.version,
        }
    )


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
