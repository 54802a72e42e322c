"""Golden observations are read without trusting them."""

import io
import struct
import zipfile

import numpy as np
import pytest

from agent.inference import golden
from agent.inference.golden import GoldenError
from tests.agent.variants import golden as made_golden


def packed(tmp_path, **arrays):
    path = tmp_path / "golden.npz"
    np.savez(path, **{name.replace("__", "/"): array for name, array in arrays.items()})
    return path


def test_reads_samples_as_they_were_saved(tmp_path):
    path = tmp_path / "golden.npz"
    path.write_bytes(made_golden(weight=2.0, samples=4))
    found = golden.read(path)

    assert found.samples == 4
    assert found.feeds(0)["state"].shape == (1, 4)
    assert found.feeds(5)["state"].tolist() == found.feeds(1)["state"].tolist()


def test_the_largest_difference_counts(tmp_path):
    found = golden.read(
        packed(tmp_path, input__x=np.zeros((2, 1, 1)), output__y=np.array([[[1.0, 2.0]], [[3.0, 4.0]]]))
    )

    assert golden.largest_error({"y": np.array([[1.0, 2.5]])}, found, 0) == 0.5
    assert golden.largest_error({"y": np.array([[3.0, 4.0]])}, found, 1) == 0.0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({}, "The output y is missing"),
        ({"y": np.zeros((1, 3))}, r"has shape \[1, 3\], expected was \[1, 2\]"),
        ({"y": np.array([[np.nan, 0]])}, "NaN or infinity"),
        ({"y": np.array([[np.inf, 0]])}, "NaN or infinity"),
    ],
)
def test_an_answer_that_is_none(tmp_path, answer, words):
    found = golden.read(packed(tmp_path, input__x=np.zeros((1, 1)), output__y=np.zeros((1, 1, 2))))

    with pytest.raises(GoldenError, match=words):
        golden.largest_error(answer, found, 0)


def test_a_pickle_inside_is_refused(tmp_path):
    path = tmp_path / "golden.npz"
    np.savez(path, **{"input/x": np.array([{"a": 1}], object), "output/y": np.zeros((1, 1))})

    with pytest.raises(GoldenError):
        golden.read(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(golden, "MAX_BYTES", 2_000_000)
    path = tmp_path / "golden.npz"
    file = io.BytesIO()
    np.save(file, np.zeros(golden.MAX_BYTES // 8 + 1))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("input/x.npy", file.getvalue())

    assert path.stat().st_size < 100_000
    with pytest.raises(GoldenError, match="more than"):
        golden.read(path)


def test_a_shape_of_2_to_the_60_is_refused_before_room_is_made(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846976,), }"
    header += b" " * (64 - (10 + len(header) + 1) % 64) + b"\n"
    path = tmp_path / "golden.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("input/x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 64)

    with pytest.raises(GoldenError, match="claims the shape"):
        golden.read(path)


@pytest.mark.parametrize(
    "arrays",
    [
        {"input__x": np.zeros((2, 1))},
        {"output__y": np.zeros((2, 1))},
        {"input__x": np.zeros((2, 1)), "output__y": np.zeros((3, 1))},
        {"input__x": np.zeros((0, 1)), "output__y": np.zeros((0, 1))},
        {"input__x": np.zeros((2, 1)), "output__y": np.zeros((2, 1)), "notes": np.zeros(2)},
        {"input__x": np.array(1.0), "output__y": np.array(1.0)},
    ],
)
def test_samples_that_do_not_fit_together_are_refused(tmp_path, arrays):
    with pytest.raises(GoldenError):
        golden.read(packed(tmp_path, **arrays))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 but no zip", b"\x93NUMPY"])
def test_what_is_no_npz_is_refused(tmp_path, data):
    path = tmp_path / "golden.npz"
    path.write_bytes(data)

    with pytest.raises(GoldenError, match="cannot be read"):
        golden.read(path)
