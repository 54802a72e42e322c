"""The Open Inference Protocol v2 over HTTP: bodies to tensors and back, in JSON and with the binary tensor extension.

Pure functions of bytes. A request's JSON describes the tensors; those with `binary_data_size` follow it as raw bytes
(little endian, row major), in order. What a shape claims is compared with what is there before any room is made.
"""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.inference.inference_engine import LoadedModel
from agent.inference.runtimes import InputError, Tensor

if TYPE_CHECKING:
    from agent.inference.runtimes import Arrays

#: The protocol's names of what numpy has.
DTYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
DATATYPES = {name: datatype for datatype, name in DTYPES.items()}
MAX_TENSORS = 64
MAX_RANK = 32

Name = Annotated[str, msgspec.Meta(max_length=256)]
Size = Annotated[int, msgspec.Meta(ge=0, le=2**31)]


class RequestInput(msgspec.Struct, frozen=True):
    """One tensor; `data` holds its numbers, flat or nested, unless they follow as raw bytes."""

    name: Name
    datatype: Name
    shape: Annotated[tuple[Size, ...], msgspec.Meta(max_length=MAX_RANK)]
    parameters: dict[str, Any] = {}
    data: msgspec.Raw = msgspec.Raw()


class RequestOutput(msgspec.Struct, frozen=True):
    name: Name
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct, frozen=True):
    inputs: Annotated[tuple[RequestInput, ...], msgspec.Meta(max_length=MAX_TENSORS)]
    outputs: Annotated[tuple[RequestOutput, ...], msgspec.Meta(max_length=MAX_TENSORS)] = ()
    id: Annotated[str, msgspec.Meta(max_length=256)] = ""
    parameters: dict[str, Any] = {}


_REQUEST = msgspec.json.Decoder(InferRequest)
#: What data is decoded as, by numpy's kind of number.
_NUMBERS: dict[str, type] = {"b": bool, "i": int, "u": int, "f": float}
_NESTED = re.compile(rb"\s*\[\s*\[")
_ENCODER = msgspec.json.Encoder()


# --- Requests -------------------------------------------------------------------------------------------------------


def read(body: bytes | bytearray, json_size: int) -> "tuple[InferRequest, Arrays]":
    """The request in the first `json_size` bytes, and its tensors. Raises InputError with a sentence."""
    view = memoryview(body)
    try:
        request = _REQUEST.decode(view[:json_size])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise InputError(f"The request is not valid: {problem}.") from problem
    return request, _tensors(request.inputs, body, json_size)


def _tensors(
    described: "Sequence[RequestInput | ReplyOutput]", body: bytes | bytearray, json_size: int
) -> dict[str, NDArray[np.generic]]:
    """The arrays of what the JSON in the first `json_size` bytes describes."""
    view, at = memoryview(body), json_size
    feeds: dict[str, NDArray[np.generic]] = {}
    for each in described:
        if each.name in feeds:
            raise InputError(f"The input {each.name[:80]!r} comes twice.")
        dtype = DTYPES.get(each.datatype)
        if dtype is None:
            raise InputError(f"The datatype {each.datatype[:20]!r} is none of {', '.join(DTYPES)}.")
        size = each.parameters.get("binary_data_size")
        if size is None:
            feeds[each.name] = _from_json(each, dtype)
        else:
            feeds[each.name], at = _from_bytes(each, dtype, size, view, at)
    if at != len(view):
        raise InputError(f"{len(view) - at} bytes follow the last tensor.")
    return feeds


def _from_bytes(
    given: "RequestInput | ReplyOutput", dtype: str, size: object, view: memoryview, at: int
) -> tuple[NDArray[np.generic], int]:
    wanted = math.prod(given.shape) * np.dtype(dtype).itemsize
    if size != wanted or isinstance(size, bool):
        raise InputError(
            f"The input {given.name[:80]!r} of shape {list(given.shape)} and {given.datatype} takes {wanted} bytes; "
            f"its binary_data_size is {str(size)[:40]}."
        )
    if memoryview(given.data):
        raise InputError(f"The input {given.name[:80]!r} has both data and a binary_data_size.")
    if at + wanted > len(view):
        raise InputError(f"The body ends within the input {given.name[:80]!r}.")
    # A truth value is any byte but 0; numpy's own have to be 0 and 1.
    array: NDArray[Any] = np.frombuffer(view[at : at + wanted], "uint8" if dtype == "bool" else dtype)
    if dtype == "bool":
        array = array != 0
    elif not array.flags.aligned:
        array = array.copy()
    return _shaped(array, given), at + wanted


def _from_json(given: "RequestInput | ReplyOutput", dtype: str) -> NDArray[np.generic]:
    data = memoryview(given.data)
    if not data:
        raise InputError(f"The input {given.name[:80]!r} has neither data nor a binary_data_size.")
    kind = np.dtype(dtype).kind
    rank = len(given.shape) if _NESTED.match(data) else 1
    try:
        values = _decoder(_NUMBERS[kind], rank).decode(data)
        with np.errstate(over="ignore"):
            array = np.array(values, dtype)
    except (msgspec.DecodeError, RecursionError) as problem:
        words = f"is not {given.datatype}, flat or nested as its shape {list(given.shape)}"
        raise InputError(f"The data of {given.name[:80]!r} {words}: {problem}.") from problem
    except ValueError as problem:
        raise InputError(f"The rows in the data of {given.name[:80]!r} are not of one length.") from problem
    except OverflowError as problem:
        raise _beyond(given) from problem
    if kind == "f" and not np.isfinite(array).all():
        raise _beyond(given)
    if array.size != math.prod(given.shape):
        raise InputError(
            f"The input {given.name[:80]!r} has {array.size} numbers, its shape {list(given.shape)} takes "
            f"{math.prod(given.shape)}."
        )
    return _shaped(array, given)


@functools.lru_cache(maxsize=128)
def _decoder(number: type, rank: int) -> msgspec.json.Decoder[Any]:
    """Of lists of that number, nested so deep."""
    kind: Any = number
    for _ in range(rank):
        kind = list[kind]
    return msgspec.json.Decoder(kind)


def _beyond(given: "RequestInput | ReplyOutput") -> InputError:
    return InputError(f"The data of {given.name[:80]!r} has a number that is beyond {given.datatype}.")


def _shaped(array: NDArray[Any], given: "RequestInput | ReplyOutput") -> NDArray[np.generic]:
    try:
        return array.reshape(given.shape)
    except ValueError as problem:  # no numbers at all, and sizes that numpy cannot count
        raise InputError(f"The input {given.name[:80]!r} has an impossible shape.") from problem


def deadline_ms(request: InferRequest) -> float | None:
    """From the request's parameter `timeout`, which is in microseconds as Triton's; 0 and none are none.

    Raises InputError when it is no whole number.
    """
    timeout = request.parameters.get("timeout", 0)
    if not isinstance(timeout, int) or isinstance(timeout, bool) or not 0 <= timeout <= 3_600_000_000:
        raise InputError("The timeout is no whole number of microseconds, of at most an hour.")
    return timeout / 1e3 or None


def check_outputs(request: InferRequest, outputs: Mapping[str, Tensor]) -> None:
    """Raises InputError when an output is wished for that the model has not: before it runs."""
    for each in request.outputs:
        if each.name not in outputs:
            raise InputError(f"The model has no output {each.name[:80]!r}; it gives {', '.join(outputs)}.")
        if each.parameters.get("classification"):
            raise InputError("The classification extension is not part of this server.")


# --- Replies --------------------------------------------------------------------------------------------------------


def write(request: InferRequest, outputs: "Arrays", model: LoadedModel) -> tuple[list[bytes | memoryview], int | None]:
    """The reply's body in pieces; with raw tensors in it also the length of its JSON, else None."""
    by_default = request.parameters.get("binary_data_output") is True
    wanted = [(each.name, each.parameters.get("binary_data", by_default) is True) for each in request.outputs]
    described: list[dict[str, Any]] = []
    raw: list[bytes | memoryview] = []
    for name, binary in wanted or [(name, by_default) for name in outputs]:
        array = np.ascontiguousarray(outputs[name]).reshape(outputs[name].shape)  # a single number stays one
        told: dict[str, Any] = {"name": name, "datatype": DATATYPES[array.dtype.name], "shape": array.shape}
        if binary:
            told["parameters"] = {"binary_data_size": array.nbytes}
            raw.append(array.tobytes())
        else:
            told["data"] = array.ravel().tolist()
        described.append(told)
    reply: dict[str, Any] = {"model_name": model.name, "model_version": model.version, "outputs": described}
    if request.id:
        reply["id"] = request.id
    head = _ENCODER.encode(reply)
    return [head, *raw], len(head) if raw else None


class ReplyOutput(msgspec.Struct, frozen=True):
    name: Name
    datatype: Name
    shape: Annotated[tuple[Size, ...], msgspec.Meta(max_length=MAX_RANK)]
    parameters: dict[str, Any] = {}
    data: msgspec.Raw = msgspec.Raw()


class InferReply(msgspec.Struct, frozen=True):
    model_name: str
    model_version: str
    outputs: Annotated[tuple[ReplyOutput, ...], msgspec.Meta(max_length=MAX_TENSORS)]


_REPLY = msgspec.json.Decoder(InferReply)


def read_reply(body: bytes, json_size: int | None) -> "tuple[InferReply, Arrays]":
    """Another server's reply, and its tensors. Raises InputError with a sentence for what is none."""
    size = len(body) if json_size is None else json_size
    try:
        reply = _REPLY.decode(memoryview(body)[:size])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise InputError(f"It is no reply: {problem}.") from problem
    return reply, _tensors(reply.outputs, body, size)


def model_metadata(model: LoadedModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": "onnxruntime_onnx" if model.backend.runtime == "onnxruntime" else model.backend.runtime,
        "inputs": _described(model.runtime.inputs),
        "outputs": _described(model.runtime.outputs),
    }


def _described(tensors: Mapping[str, Tensor]) -> Sequence[dict[str, Any]]:
    return [
        {
            "name": name,
            "datatype": DATATYPES.get(tensor.dtype, "BYTES"),
            "shape": [-1 if size is None else size for size in tensor.shape],
        }
        for name, tensor in tensors.items()
    ]
