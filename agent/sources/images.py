"""Files and frames to images: uint8 RGB [height, width, 3].

NumPy arrays and PPM need nothing more; JPEG and PNG need Pillow (`pip install ./agent[images]`). What an image claims
to be is checked before room is made for it.
"""

import io
import math
import re
import warnings
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

Image = NDArray[np.uint8]

#: Pixels of a side, as in the local API; and bytes of a file.
MAX_SIDE, MAX_FILE = 4096, 64 * 1024**2
#: Of a picture with a state and words in one file.
MAX_WORDS, MAX_STATE = 4096, 16_384


class ImageError(ValueError):
    """A picture that cannot be used; the message says why."""


def read(path: Path) -> Image:
    """The picture in a file, by the file's ending. Raises ImageError or OSError."""
    size = path.stat().st_size
    if size > MAX_FILE:
        raise ImageError(f"{path.name} has {size} bytes, the limit is {MAX_FILE}")
    if path.suffix.lower() == ".npy":
        with path.open("rb") as file:
            return _picture(_array(file, size, path.name), path.name)
    if path.suffix.lower() == ".ppm":
        return ppm(path.read_bytes(), path.name)
    return decoded(path.read_bytes(), path.name)


def read_observation(path: Path) -> tuple[Image, str | None, NDArray[np.float32] | None]:
    """`image`, and where they are there `instruction` and `state`, of an .npz file. Raises ImageError or OSError."""
    arrays: dict[str, NDArray[np.generic]] = {}
    try:
        with zipfile.ZipFile(path) as file:
            for member in file.infolist():
                if member.file_size > MAX_FILE:
                    raise ImageError(f"{path.name} holds {member.file_size} bytes, the limit is {MAX_FILE}")
                name = member.filename.removesuffix(".npy")
                if name in ("image", "instruction", "state"):
                    with file.open(member) as stream:
                        arrays[name] = _array(stream, member.file_size, f"{name} in {path.name}")
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as problem:
        raise ImageError(f"{path.name} cannot be read: {problem}") from problem
    if "image" not in arrays:
        raise ImageError(f"{path.name} has no array called image")
    words, state = arrays.get("instruction"), arrays.get("state")
    if words is not None and (words.size != 1 or words.dtype.kind != "U" or words.dtype.itemsize > 4 * MAX_WORDS):
        raise ImageError(f"the instruction in {path.name} is no text of at most {MAX_WORDS} letters")
    if state is not None and (state.ndim != 1 or state.size > MAX_STATE or state.dtype.kind not in "fiu"):
        raise ImageError(f"the state in {path.name} is no row of at most {MAX_STATE} numbers")
    return (
        _picture(arrays["image"], f"image in {path.name}"),
        None if words is None else str(words.item()),
        None if state is None else state.astype(np.float32),
    )


def ppm(data: bytes, name: str = "the picture") -> Image:
    """A binary PPM (P6) of 8 bits. Raises ImageError."""
    head = re.match(rb"P6(?:\s+#[^\n]*)*\s+(\d{1,9})\s+(\d{1,9})\s+255\s", data)
    if head is None:
        raise ImageError(f"{name} is no binary PPM with 8 bits a colour (P6)")
    width, height = int(head[1]), int(head[2])
    _check_sides(height, width, name)
    if len(data) - head.end() < height * width * 3:
        raise ImageError(f"{name} ends before its last row")
    return np.frombuffer(data, np.uint8, height * width * 3, head.end()).reshape(height, width, 3)


def decoded(data: bytes, name: str = "the picture") -> Image:
    """JPEG, PNG and whatever else Pillow knows. Raises ImageError."""
    try:
        from PIL import Image as pillow  # noqa: N813 -- it is used as a module
    except ImportError as missing:
        raise ImageError(f"{name} needs a decoder: pip install ./agent[images]") from missing
    try:
        with warnings.catch_warnings(), pillow.open(io.BytesIO(data), formats=("JPEG", "PNG")) as opened:
            warnings.simplefilter("ignore", pillow.DecompressionBombWarning)
            _check_sides(opened.height, opened.width, name)
            return np.asarray(opened.convert("RGB"))
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as problem:
        if isinstance(problem, ImageError):
            raise
        raise ImageError(f"{name} cannot be decoded: {problem}") from problem


def from_yuyv(data: NDArray[np.uint8], height: int, width: int) -> Image:
    """YUV 4:2:2 as cameras send it (Y0 U Y1 V; ITU-R BT.601, luma 16 to 235) to RGB. width is even."""
    pairs = data[: height * width * 2].reshape(height, width // 2, 4).astype(np.int32)
    luma = (pairs[:, :, 0::2].reshape(height, width) - 16) * 298
    blue, red = (np.repeat(pairs[:, :, each] - 128, 2, axis=1) for each in (1, 3))
    made = np.empty((height, width, 3), np.int32)
    made[:, :, 0] = luma + 409 * red
    made[:, :, 1] = luma - 100 * blue - 208 * red
    made[:, :, 2] = luma + 516 * blue
    image: Image = np.clip((made + 128) >> 8, 0, 255).astype(np.uint8)
    return image


def _array(stream: IO[bytes], size: int, name: str) -> NDArray[np.generic]:
    """An array whose claimed shape is the bytes that there are: numpy makes room for the claim first."""
    try:
        version = npy.read_magic(stream)
        reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if reader is None:
            raise ImageError(f"{name} has the unknown array format {version}")
        shape, fortran, dtype = reader(stream)
        wanted = math.prod(shape) * dtype.itemsize
        data = stream.read(size) if not dtype.hasobject else b""
    except (ValueError, EOFError) as problem:
        raise ImageError(f"{name} is no array: {problem}") from problem
    if dtype.hasobject or len(data) != wanted:
        raise ImageError(f"{name} claims the shape {shape} of {dtype}, which is not what it holds")
    made: NDArray[np.generic] = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return made


def _picture(array: NDArray[np.generic], name: str) -> Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ImageError(f"{name} is {array.dtype} {list(array.shape)}, and no uint8 [height, width, 3]")
    _check_sides(array.shape[0], array.shape[1], name)
    return array.astype(np.uint8, copy=False)


def _check_sides(height: int, width: int, name: str) -> None:
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise ImageError(f"{name} has {height} x {width} pixels; a side has from 1 to {MAX_SIDE}")
