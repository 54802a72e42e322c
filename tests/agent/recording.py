"""What a process sends to others, byte by byte; and whether something of an observation is in it."""

import base64
import contextlib
import gzip
import io
import re
import socket
import threading
import zlib
from collections.abc import Iterator

import numpy as np
from backports import zstd

from agent.inference.policy_card import Observation, resized


class Recorder:
    """A proxy on `port` that hands every byte on to `target`, and keeps those that the client sent."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._streams: list[bytearray] = []
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def streams(self) -> list[bytes]:
        """One for each connection, in the order in which they were made."""
        return [bytes(stream) for stream in self._streams]

    @property
    def size(self) -> int:
        return sum(len(stream) for stream in self._streams)

    def forget(self) -> None:
        for stream in self._streams:
            stream.clear()

    def stop(self) -> None:
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                other = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            kept = bytearray()
            self._streams.append(kept)
            self._sockets += [client, other]
            threading.Thread(target=_hand_on, args=(client, other, kept), daemon=True).start()
            threading.Thread(target=_hand_on, args=(other, client, None), daemon=True).start()


def _hand_on(source: socket.socket, sink: socket.socket, kept: bytearray | None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            if kept is not None:
                kept += data
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


# --- What gives an observation away ---------------------------------------------------------------------------------

#: Bytes of a picture that are looked for at a time: four pixels. Noise does not repeat them.
_WINDOW = 12


def found(streams: list[bytes], observation: Observation, size: tuple[int, int]) -> set[str]:
    """Which parts of an observation (image, instruction, state) are anywhere in the streams, whole or in pieces.

    size is what the model resizes the image to. Looked for as raw bytes, in base64, hexadecimal and JSON, as the
    model's tensors, and all of that once more in whatever can be decompressed.
    """
    haystacks = [part for stream in streams for part in (stream, *_unpacked(stream))]
    return {
        name
        for name, needles in _needles(observation, size).items()
        if any(needle in haystack for haystack in haystacks for needle in needles)
    }


def _needles(observation: Observation, size: tuple[int, int]) -> dict[str, set[bytes]]:
    image: set[bytes] = set()
    for picture in (observation.image, resized(observation.image, *size)):
        image |= set(_of_bytes(picture.tobytes()))
        values = picture.ravel()
        image |= set(_of_numbers([str(value) for value in values], 6))
        scaled = (picture.astype(np.float32) / np.float32(255)).astype(np.float32)
        for tensor in (scaled, np.ascontiguousarray(scaled.transpose(2, 0, 1))):
            image |= set(_of_bytes(tensor.tobytes(), 16))
    words: set[bytes] = set()
    for word in (word for word in observation.instruction.split() if len(word) > 8):  # `for` is in many a message
        words |= {word.encode(), word.encode("utf-16-le"), word.encode().hex().encode()}
        words |= {_in_base64(word.encode(), shift) for shift in range(3)}
    state: set[bytes] = set(_of_numbers([f"{value:.5f}" for value in observation.state.tolist()], 1))
    for kind in (np.float32, np.float64):
        state |= set(_of_bytes(observation.state.astype(kind).tobytes(), observation.state.astype(kind).itemsize * 2))
    return {"image": image, "instruction": words, "state": state}


def _of_bytes(data: bytes, window: int = _WINDOW) -> Iterator[bytes]:
    for at in range(0, len(data) - window + 1, 4 if window != _WINDOW else 1):
        piece = data[at : at + window]
        yield piece
        yield piece.hex().encode()
        yield from (_in_base64(piece, shift) for shift in range(3))


def _of_numbers(numbers: list[str], count: int) -> Iterator[bytes]:
    for at in range(0, len(numbers) - count + 1):
        for between in (",", ", "):
            yield between.join(numbers[at : at + count]).encode()


def _in_base64(data: bytes, shift: int) -> bytes:
    """How data looks within a longer text in base64, beginning `shift` bytes into a group: its certain signs only."""
    encoded = base64.b64encode(b"\0" * shift + data)
    return encoded[(0, 2, 3)[shift] : len(encoded) - (0, 3, 2)[(shift + len(data)) % 3]]


def _unpacked(stream: bytes) -> Iterator[bytes]:
    """Everything in the stream that some decompressor makes sense of."""
    for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08|\x28\xb5\x2f\xfd", stream):
        data, at = stream[match.start() :], match.group()
        with contextlib.suppress(zlib.error, zstd.ZstdError, EOFError, OSError, gzip.BadGzipFile):
            if at == b"\x28\xb5\x2f\xfd":
                made = zstd.ZstdDecompressor().decompress(data, max_length=2**22)
            elif at.startswith(b"\x1f"):
                made = zlib.decompressobj(31).decompress(data, 2**22)
            else:
                made = zlib.decompressobj().decompress(data, 2**22)
            if made:
                yield made


def packed(data: bytes) -> dict[str, bytes]:
    """The same bytes in each of the ways that `found` knows, for a test of it."""
    zipped = io.BytesIO()
    with gzip.GzipFile(fileobj=zipped, mode="wb") as file:
        file.write(data)
    return {
        "as they are": data,
        "in base64": base64.b64encode(b"x" + data),
        "by zlib": zlib.compress(data),
        "by gzip": zipped.getvalue(),
        "by zstd": zstd.compress(data),
    }
