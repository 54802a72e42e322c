"""A camera. There is none here, so its driver is played: real files, maps and polling, and the answers to ioctl.

What the numbers and structures are is compared with the kernel's own header, by its own compiler.
"""

import errno
import os
import shutil
import struct
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent import source
from agent.inference.policy_card import read
from agent.sources import v4l2
from agent.sources.camera import CameraSource
from agent.sources.images import ImageError
from agent.sources.v4l2 import Camera, CameraError
from tests.agent.inference.pictures import seeing_variant
from tests.agent.sources.test_images import gradient
from tests.agent.variants import card

SEEING = read(msgspec.json.encode(card(**seeing_variant()["card_changes"])))
PAGE = 64 * 1024


class Driver:
    """A kernel's answers for a camera that fills a frame whenever it is polled and a buffer waits.

    Its "device" is a file with room for the buffers; a file is always readable, as a camera with frames is. stored
    are the pixel values of frames that come, one each; damaged are numbers of frames that the driver marks so.
    """

    def __init__(self, path: Path, formats=(v4l2.YUYV,), width=320, height=240, **quirks) -> None:
        self.path = path
        self.formats = formats
        self.size = (width, height)
        self.quirks = quirks
        self.queued: list[int] = []
        self.done: list[tuple[int, int, int]] = []
        self.streaming = False
        self.taken = 0
        with path.open("wb") as file:
            file.truncate(4 * 4 * PAGE)

    def __call__(self, file: int, request: int, body: bytearray) -> int:
        name = {getattr(v4l2, each): each for each in _NUMBERS}[request].lower()
        if name in self.quirks:
            raise OSError(self.quirks[name], os.strerror(self.quirks[name]))
        getattr(self, name)(file, body)
        return 0

    def querycap(self, _file: int, body: bytearray) -> None:
        own = self.quirks.get("abilities", 0x04000001)
        body[:] = v4l2.CAPABILITY.pack(b"played", b"camera", b"bus", 1, 0x84000001, own)

    def s_fmt(self, _file: int, body: bytearray) -> None:
        kind, _, _, pixels, *_ = v4l2.FORMAT.unpack(body)
        given = pixels if pixels in self.formats else self.formats[0]
        line = self.quirks.get("line", 2 * self.size[0] if given == v4l2.YUYV else 0)
        body[:] = v4l2.FORMAT.pack(kind, *self.size, given, 1, line, 2 * self.size[0] * self.size[1])

    def reqbufs(self, _file: int, body: bytearray) -> None:
        self.queued, self.done = [], []
        count, *rest = v4l2.REQUEST.unpack(body)
        body[:] = v4l2.REQUEST.pack(min(count, self.quirks.get("memory", 4)), *rest)

    def querybuf(self, _file: int, body: bytearray) -> None:
        number = v4l2.BUFFER.unpack(body)[0]
        body[:] = v4l2.BUFFER.pack(number, 1, 0, 0, 1, number * 4 * PAGE, 4 * PAGE)

    def qbuf(self, _file: int, body: bytearray) -> None:
        number = v4l2.BUFFER.unpack(body)[0]
        assert number not in self.queued, "a buffer that the driver has is given to it again"
        self.queued.append(number)

    def streamon(self, _file: int, _body: bytearray) -> None:
        self.streaming = True
        self.fill(4)  # what the camera took before anybody looked

    def fill(self, frames: int = 1) -> None:
        """The camera takes frames; without a free buffer they are lost, and the old ones stay."""
        for _ in range(frames):
            self.taken += 1
            if not self.queued:
                continue
            number = self.queued.pop(0)
            data = self.quirks.get("frame") or bytes([self.taken % 256, 128] * (self.size[0] * self.size[1]))
            with self.path.open("r+b") as file:
                file.seek(number * 4 * PAGE)
                file.write(data)
            flags = 0x40 if self.taken in self.quirks.get("damaged", ()) else 0
            self.done.append((number, len(data), flags))

    def dqbuf(self, _file: int, body: bytearray) -> None:
        assert self.streaming
        if not self.done:
            self.fill(0 if self.quirks.get("still") else 1)
            raise BlockingIOError(errno.EAGAIN, "nothing yet")
        number, used, flags = self.done.pop(0)
        body[:] = v4l2.BUFFER.pack(number, 1, used, flags, 1, number * 4 * PAGE, 4 * PAGE)


_NUMBERS = ("QUERYCAP", "S_FMT", "REQBUFS", "QUERYBUF", "QBUF", "DQBUF", "STREAMON", "STREAMOFF")


@pytest.fixture
def camera(tmp_path):
    """`camera(**quirks)`: a camera and its driver."""

    def plug(**quirks):
        driver = Driver(tmp_path / "video0", **quirks)
        return Camera(driver.path, 320, 240, driver), driver

    return plug


def test_a_frame_is_one_that_was_taken_after_it_was_asked_for(camera):
    made, driver = camera()
    first = made.frame()
    assert len(first) == 320 * 240 * 2
    assert first[0] > 4, "the four that waited are old"
    driver.fill(20)  # the robot thinks; the camera goes on, and its buffers are full of old frames
    late = driver.taken
    assert made.frame()[0] > late
    made.close()


def test_a_damaged_frame_is_not_shown(camera):
    made, driver = camera(damaged=(5, 6))
    assert made.frame()[0] == 7
    assert sorted(driver.queued + [each[0] for each in driver.done]) == [0, 1, 2, 3], "every buffer is given back"
    made.close()


def test_nothing_stays_open(camera):
    before = len(os.listdir("/proc/self/fd"))
    made, _ = camera()
    made.frame()
    assert len(os.listdir("/proc/self/fd")) > before
    made.close()
    made.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_camera_that_was_pulled_out_is_opened_again(camera):
    made, driver = camera()
    made.frame()
    driver.quirks["dqbuf"] = errno.ENODEV
    with pytest.raises(CameraError, match="No such device"):
        made.frame()
    with pytest.raises(CameraError):
        made.frame()
    del driver.quirks["dqbuf"]
    assert made.frame()
    made.close()


def test_a_camera_that_stands_still_says_so(camera):
    made, _ = camera(still=True)
    with pytest.raises(CameraError, match="sent no frame within"):
        made.frame(seconds=0.3)


@pytest.mark.parametrize(
    ("quirks", "words"),
    [
        ({"querycap": errno.ENOTTY}, "is no camera"),
        ({"abilities": 0x04200000}, "takes no pictures"),
        ({"formats": (int.from_bytes(b"H264", "little"),)}, "neither YUYV nor MJPEG"),
        ({"line": 704}, "neither YUYV nor MJPEG"),
        ({"memory": 1}, "has no memory for frames"),
        ({"streamon": errno.ENOSPC}, "No space left on device"),
        ({"s_fmt": errno.EBUSY}, "busy"),
    ],
)
def test_a_camera_that_cannot_be_used_says_why(camera, quirks, words):
    made, _ = camera(**quirks)
    with pytest.raises(CameraError, match=words):
        made.frame(seconds=0.3)


def test_what_is_no_camera_at_all(tmp_path):
    with pytest.raises(CameraError, match="cannot be opened: No such file"):
        Camera(tmp_path / "none", 320, 240).frame()
    with pytest.raises(CameraError, match="is no camera: Inappropriate ioctl"):
        Camera(Path("/dev/null"), 320, 240).frame()


def plugged(tmp_path, monkeypatch, instruction="", made=SEEING, **quirks):
    driver = Driver(tmp_path / "video0", **quirks)
    factory = source.load(f"camera:{driver.path}", instruction)
    looking = factory(made, 0)
    looking._camera._ioctl = driver
    return looking


def test_as_a_source_it_shows_what_the_camera_sees_with_the_words(tmp_path, monkeypatch):
    frame = np.tile(np.array([81, 90, 81, 240], np.uint8), 160 * 240).tobytes()
    looking = plugged(tmp_path, monkeypatch, "look", frame=frame)
    seen = looking.observe()
    assert (seen.image.shape, seen.instruction, seen.state.size) == ((240, 320, 3), "look", 0)
    assert np.abs(seen.image.astype(int) - (254, 0, 0)).max() <= 2
    assert looking.act(np.zeros((2, 3), np.float32)).episodes == 0
    looking._camera.close()


def test_a_camera_that_sends_jpeg(tmp_path, monkeypatch):
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(gradient(240, 320)).save(file, "JPEG")
    looking = plugged(tmp_path, monkeypatch, formats=(v4l2.MJPEG,), frame=file.getvalue())
    assert looking.observe().image.shape == (240, 320, 3)
    looking._camera.close()


def test_a_frame_that_is_too_short(tmp_path, monkeypatch):
    looking = plugged(tmp_path, monkeypatch, frame=b"1234")
    with pytest.raises(ImageError, match="too few"):
        looking.observe()
    looking._camera.close()


def test_a_model_that_wants_a_state_needs_a_source_that_tells_it(tmp_path):
    feeling = read(msgspec.json.encode(card()))
    with pytest.raises(ValueError, match="write a source of your own"):
        CameraSource(tmp_path / "video0", feeling)

    class Arm(CameraSource):
        def state(self):
            return np.arange(4, dtype=np.float32)

    assert Arm(tmp_path / "video0", feeling).state().size == 4


def test_the_numbers_are_those_of_the_kernels_header(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler or not Path("/usr/include/linux/videodev2.h").exists():
        pytest.skip("there is no compiler or no <linux/videodev2.h> here")
    offsets = {
        "v4l2_capability": ["capabilities", "device_caps"],
        "v4l2_buffer": ["index", "type", "bytesused", "flags", "memory", "m", "length"],
        "v4l2_requestbuffers": ["count", "type", "memory"],
    }
    lines = [f'printf("%lu ", (unsigned long)VIDIOC_{name});' for name in _NUMBERS]
    lines += [
        f'printf("%zu ", sizeof(struct {name}));'
        for name in ("v4l2_capability", "v4l2_format", "v4l2_requestbuffers", "v4l2_buffer")
    ]
    lines += [
        f'printf("%zu ", offsetof(struct {name}, {field}));' for name, fields in offsets.items() for field in fields
    ]
    lines += [f'printf("%zu ", offsetof(struct v4l2_format, fmt.pix.{field}));' for field in ("width", "pixelformat")]
    lines += ['printf("%d %d %d", V4L2_BUF_FLAG_ERROR, V4L2_PIX_FMT_YUYV, V4L2_PIX_FMT_MJPEG);']
    code = (
        "#include <stdio.h>\n#include <stddef.h>\n#include <linux/videodev2.h>\nint main(void) {" + "".join(lines) + "}"
    )
    (tmp_path / "a.c").write_text(code)
    subprocess.run([compiler, str(tmp_path / "a.c"), "-o", str(tmp_path / "a")], check=True)
    told = list(map(int, subprocess.run([tmp_path / "a"], check=True, capture_output=True, text=True).stdout.split()))

    numbers = [getattr(v4l2, name) for name in _NUMBERS]
    sizes = [v4l2.CAPABILITY.size, v4l2.FORMAT.size, v4l2.REQUEST.size, v4l2.BUFFER.size]
    places = [
        *_places(v4l2.CAPABILITY, 4, 5),
        *_places(v4l2.BUFFER, 0, 1, 2, 3, 4, 5, 6),
        *_places(v4l2.REQUEST, 0, 1, 2),
        *_places(v4l2.FORMAT, 1, 3),
    ]
    assert told == [*numbers, *sizes, *places, v4l2._FLAG_ERROR, v4l2.YUYV, v4l2.MJPEG]


def _places(layout: struct.Struct, *fields: int) -> list[int]:
    """The offset of each field: where a byte changes when it alone does."""
    empty = layout.unpack(bytes(layout.size))
    found = []
    for field in fields:
        changed = list(empty)
        changed[field] = 0xFF
        packed = layout.pack(*changed)
        found.append(next(place for place, byte in enumerate(packed) if byte))
    return found
