"""A camera of Linux (Video4Linux 2): its frames as they come, through buffers that the driver fills.

Only the standard library: the kernel's interface has been the same for twenty years, and the one package for it that is
kept up is under the GPL. Structures and numbers are those of <linux/videodev2.h> on 64-bit machines; a test compares
them with the header. The steps are the kernel's own (Documentation/userspace-api/media/v4l/mmap.rst).
"""

import errno
import fcntl
import mmap
import os
import select
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: ioctl numbers: direction, size of the structure, 'V', number.
QUERYCAP, S_FMT, REQBUFS = 0x80685600, 0xC0D05605, 0xC0145608
QUERYBUF, QBUF, DQBUF = 0xC0585609, 0xC058560F, 0xC0585611
STREAMON, STREAMOFF = 0x40045612, 0x40045613

_CAPTURE, _MMAP = 1, 1
_CAP_CAPTURE, _CAP_STREAMING, _CAP_OF_DEVICE = 0x1, 0x04000000, 0x80000000
_FLAG_ERROR = 0x40
#: v4l2_capability: driver, card, bus, version, capabilities, device_caps, reserved.
CAPABILITY = struct.Struct("=16s32s32sIII12x")
#: v4l2_format: type, (padding), width, height, pixelformat, field, bytesperline, sizeimage, rest of the union.
FORMAT = struct.Struct("=I4xIIIIII176x")
#: v4l2_requestbuffers: count, type, memory, capabilities, flags and reserved.
REQUEST = struct.Struct("=IIII4x")
#: v4l2_buffer: index, type, bytesused, flags, …, memory, offset (in a union of 8 bytes), length, ….
BUFFER = struct.Struct("=IIII44xIQI12x")
BUFFERS = 4
#: Pixel formats that can be used, the liked one first: no decoder is needed for it.
YUYV, MJPEG = (int.from_bytes(code, "little") for code in (b"YUYV", b"MJPG"))

Ioctl = Callable[[int, int, bytearray], object]


class CameraError(OSError):
    """A camera that cannot be used; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the camera agreed to; it may be another size than was asked for."""

    width: int
    height: int
    pixels: int


class Camera:
    """Frames of `width` x `height`, or near it. Opened with the first frame, and closed by `close` or an error."""

    def __init__(self, path: Path, width: int, height: int, ioctl: Ioctl = fcntl.ioctl) -> None:
        self._path = path
        self._wanted = (width, height)
        self._ioctl = ioctl
        self._file = -1
        self._maps: list[mmap.mmap] = []
        self.shape = Shape(0, 0, 0)

    def frame(self, seconds: float = 2.0) -> bytes:
        """The next frame that the camera takes from now on, as it sends it. Raises CameraError."""
        try:
            if self._file < 0:
                self._open()
            self._drop_old()
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                if select.select([self._file], [], [], left)[0] and (data := self._take()):
                    return data
        except OSError as problem:
            self.close()
            if isinstance(problem, CameraError):
                raise
            raise CameraError(f"the camera {self._path} failed: {problem.strerror}") from problem
        self.close()
        raise CameraError(f"the camera {self._path} sent no frame within {seconds:.0f} s")

    def close(self) -> None:
        """The next frame opens it again: a plug that was pulled may be put back."""
        for each in self._maps:
            each.close()
        self._maps.clear()
        if self._file >= 0:
            os.close(self._file)  # ends the stream, too
            self._file = -1

    def __del__(self) -> None:
        self.close()

    def _open(self) -> None:
        if struct.calcsize("P") != 8:
            raise CameraError("cameras need a 64-bit system")
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as problem:
            hint = "; add its user to the group video" if problem.errno == errno.EACCES else ""
            raise CameraError(f"the camera {self._path} cannot be opened: {problem.strerror}{hint}") from problem
        self._check()
        self.shape = self._agree()
        self._begin()

    def _check(self) -> None:
        told = bytearray(CAPABILITY.size)
        try:
            self._ioctl(self._file, QUERYCAP, told)
        except OSError as problem:
            raise CameraError(f"{self._path} is no camera: {problem.strerror}") from problem
        *_, whole, own = CAPABILITY.unpack(told)
        abilities = own if whole & _CAP_OF_DEVICE else whole
        if not abilities & _CAP_CAPTURE or not abilities & _CAP_STREAMING:
            raise CameraError(f"{self._path} takes no pictures (one camera has several of these: try the next number)")

    def _agree(self) -> Shape:
        for pixels in (YUYV, MJPEG):
            told = bytearray(FORMAT.pack(_CAPTURE, *self._wanted, pixels, 0, 0, 0))
            self._ioctl(self._file, S_FMT, told)
            _, width, height, given, _, line, _ = FORMAT.unpack(told)
            # Rows with padding between them are rare, and their frames would come out slanted.
            if given == pixels and (pixels == MJPEG or line in (0, 2 * width)):
                return Shape(width, height, pixels)
        raise CameraError(f"the camera {self._path} sends neither YUYV nor MJPEG")

    def _begin(self) -> None:
        asked = bytearray(REQUEST.pack(BUFFERS, _CAPTURE, _MMAP, 0))
        self._ioctl(self._file, REQBUFS, asked)
        for number in range(REQUEST.unpack(asked)[0]):
            told = self._buffer(number)
            self._ioctl(self._file, QUERYBUF, told)
            *_, offset, length = BUFFER.unpack(told)
            self._maps.append(mmap.mmap(self._file, length, offset=offset & 0xFFFFFFFF))
            self._ioctl(self._file, QBUF, self._buffer(number))
        if len(self._maps) < 2:
            raise CameraError(f"the camera {self._path} has no memory for frames")
        self._ioctl(self._file, STREAMON, bytearray(_CAPTURE.to_bytes(4, "little")))

    def _drop_old(self) -> None:
        """Frames that wait are those after the last look: what the robot decides on has to be now."""
        for _ in range(len(self._maps)):
            if self._take(keep=False) is None:
                return

    def _take(self, keep: bool = True) -> bytes | None:
        """The frame that waits longest, empty if it is damaged or not wanted; None when there is none."""
        told = self._buffer(0)
        try:
            self._ioctl(self._file, DQBUF, told)
        except BlockingIOError:
            return None
        number, _, used, flags, *_ = BUFFER.unpack(told)
        data = self._maps[number][:used] if keep and not flags & _FLAG_ERROR else b""
        self._ioctl(self._file, QBUF, self._buffer(number))
        return data

    @staticmethod
    def _buffer(number: int) -> bytearray:
        return bytearray(BUFFER.pack(number, _CAPTURE, 0, 0, _MMAP, 0, 0))
