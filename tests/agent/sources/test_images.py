"""Pictures from files and frames, and what is refused before room is made for it."""

import builtins
import io
import re
import struct
import zipfile
import zlib

import numpy as np
import pytest

from agent.sources import images


def gradient(height: int = 6, width: int = 8) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 20, columns * 20, rows + columns], axis=2).astype(np.uint8)


def saved(path, image, **options):
    from PIL import Image

    Image.fromarray(image).save(path, **options)
    return path


def test_numpy_ppm_and_png_give_the_same_pixels(tmp_path):
    image = gradient()
    np.save(tmp_path / "a.npy", image)
    (tmp_path / "a.ppm").write_bytes(b"P6\n# by hand\n8 6\n255\n" + image.tobytes())
    saved(tmp_path / "a.png", image)

    for name in ("a.npy", "a.ppm", "a.png"):
        assert np.array_equal(images.read(tmp_path / name), image), name


def test_jpeg_is_nearly_the_same(tmp_path):
    image = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    read = images.read(saved(tmp_path / "a.jpg", image, quality=95))
    assert read.shape == (16, 16, 3) and np.abs(read.astype(int) - image).max() < 6


def test_grey_and_transparent_pictures_become_rgb(tmp_path):
    from PIL import Image

    Image.new("L", (3, 2), 77).save(tmp_path / "grey.png")
    Image.new("RGBA", (3, 2), (1, 2, 3, 128)).save(tmp_path / "glass.png")
    assert images.read(tmp_path / "grey.png").tolist() == [[[77] * 3] * 3] * 2
    assert images.read(tmp_path / "glass.png").shape == (2, 3, 3)


def huge_png(side: int) -> bytes:
    """A true PNG of side x side pixels, of which there is one row: 100,000 of a side would be 30 GB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * (1 + 3 * side))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def npy_head(shape: str, descr: str = "|u1") -> bytes:
    """The head of an array file that claims a shape, without the numbers."""
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.png", huge_png(100_000), "10000000000 pixels"),
        ("a.png", huge_png(4097), "4097 x 4097 pixels"),
        ("a.png", huge_png(64)[:50], "cannot be decoded"),
        ("a.png", b"no picture", "cannot be decoded"),
        ("a.jpg", b"\xff\xd8\xff\xe0 cut off", "cannot be decoded"),
        ("a.jpg", b"GIF89a" + bytes(100), "cannot be decoded"),
        ("a.ppm", b"P6 100000 100000 255\n", "100000 x 100000 pixels"),
        ("a.ppm", b"P6 4 4 255\n" + bytes(47), "ends before its last row"),
        ("a.ppm", b"P5 4 4 255\n" + bytes(16), "no binary PPM"),
        ("a.npy", npy_head("(100000, 100000, 3)"), "which is not what it holds"),
        ("a.npy", npy_head("(2, 2, 3)", "|O") + bytes(96), "which is not what it holds"),
        ("a.npy", npy_head("(2, 2, 4)") + bytes(16), "no uint8 [height, width, 3]"),
        ("a.npy", npy_head("(2, 2, 3)", "<f4") + bytes(48), "no uint8 [height, width, 3]"),
        ("a.npy", npy_head("(0, 2, 3)"), "0 x 2 pixels"),
        ("a.npy", b"no array", "is no array"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(images.ImageError, match=re.escape(words)):
        images.read(tmp_path / name)


def test_a_file_that_is_too_large_is_not_even_read(tmp_path):
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(images.MAX_FILE + 1)
    with pytest.raises(images.ImageError, match="the limit is"):
        images.read(tmp_path / "a.png")


def test_a_state_and_words_come_with_the_picture(tmp_path):
    image, state = gradient(), np.array([1, 2, 3], np.float64)
    np.savez(tmp_path / "a.npz", image=image, instruction="grasp the red square", state=state, note="not ours")
    found = images.read_observation(tmp_path / "a.npz")
    assert np.array_equal(found[0], image)
    assert (found[1], found[2].tolist(), found[2].dtype) == ("grasp the red square", [1, 2, 3], np.float32)

    np.savez_compressed(tmp_path / "b.npz", image=image)
    assert images.read_observation(tmp_path / "b.npz")[1:] == (None, None)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"picture": gradient()}, "no array called image"),
        ({"image": gradient(), "instruction": np.array([b"bytes"])}, "no text"),
        ({"image": gradient(), "instruction": np.array(["two", "texts"])}, "no text"),
        ({"image": gradient(), "state": np.zeros((2, 2))}, "no row"),
        ({"image": gradient(), "state": np.array(["words"])}, "no row"),
    ],
)
def test_what_does_not_fit_into_an_observation(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(images.ImageError, match=words):
        images.read_observation(tmp_path / "a.npz")


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("image.npy", bytes(images.MAX_FILE + 1))
    assert (tmp_path / "a.npz").stat().st_size < 200_000
    with pytest.raises(images.ImageError, match="the limit is"):
        images.read_observation(tmp_path / "a.npz")


def test_a_damaged_archive(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK no archive")
    with pytest.raises(images.ImageError, match="cannot be read"):
        images.read_observation(tmp_path / "a.npz")


def test_without_pillow_it_says_what_to_install(tmp_path, monkeypatch):
    imported = builtins.__import__

    def without(name, *rest):
        if name.startswith("PIL"):
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(images.ImageError, match=r"pip install ./agent\[images\]"):
        images.read(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("rgb", "yuv"),
    [
        ((255, 255, 255), (235, 128, 128)),
        ((0, 0, 0), (16, 128, 128)),
        ((255, 0, 0), (81, 90, 240)),
        ((0, 255, 0), (145, 54, 34)),
        ((0, 0, 255), (41, 240, 110)),
    ],
)
def test_yuyv_has_the_colours_of_its_standard(rgb, yuv):
    luma, blue, red = yuv
    frame = np.array([luma, blue, luma, red] * 2 * 3, np.uint8)
    image = images.from_yuyv(frame, 3, 4)
    assert image.shape == (3, 4, 3)
    assert np.abs(image.astype(int) - rgb).max() <= 2


def test_each_pixel_of_a_pair_has_its_own_brightness():
    image = images.from_yuyv(np.array([16, 128, 235, 128], np.uint8), 1, 2)
    assert image.tolist() == [[[0, 0, 0], [255, 255, 255]]]


def test_a_png_in_memory_is_closed_again():
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(gradient()).save(file, "PNG")
    assert np.array_equal(images.decoded(file.getvalue()), gradient())
