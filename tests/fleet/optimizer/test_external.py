"""An ONNX model with its data files beside it, in one zip; and what hostile ones try."""

import stat
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from agent.inference import runtimes
from fleet.optimizer import external, intake
from fleet.optimizer.errors import IntakeError


@pytest.fixture
def parts(tiny_onnx, tmp_path) -> Path:
    """A folder with model.onnx and weights.bin."""
    folder = tmp_path / "parts"
    folder.mkdir()
    model = onnx.load(tiny_onnx)
    onnx.save_model(model, folder / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=64)
    return folder


def bundle(folder: Path, target: Path, under: str = "") -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir(), reverse=True):  # the data file first
            archive.write(path, f"{under}{path.name}")
    return target


def relocated(folder: Path, **told: str) -> Path:
    """The same, but the first tensor says something else of where it lies."""
    model = onnx.load_model(folder / "model.onnx", load_external_data=False)
    tensor = next(each for each in model.graph.initializer if each.external_data)
    for entry in tensor.external_data:
        entry.value = told.get(entry.key, entry.value)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


@pytest.mark.parametrize("under", ["", "exported/"])
def test_it_becomes_one_file_that_answers_as_before(parts, tiny_onnx, tmp_path, under):
    upload = bundle(parts, tmp_path / "model.zip", under)
    assert intake.accept(upload, "model.zip").format == "onnx"
    notes = intake.prepare(upload, "onnx", tmp_path / "clean.onnx")
    assert notes == ["put together from 2 files"]
    assert not (tmp_path / "clean.parts").exists()
    feeds = {
        "image": np.zeros((1, 3, 8, 8), np.float32),
        "tokens": np.ones((1, 4), np.int64),
        "state": np.zeros((1, 3), np.float32),
    }
    mine, theirs = (runtimes.load(path).run(feeds) for path in (tmp_path / "clean.onnx", tiny_onnx))
    assert all((mine[name] == theirs[name]).all() for name in theirs)


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"location": "../../../etc/passwd"}, "lies in another file"),
        ({"location": "/etc/passwd"}, "lies in another file"),
        ({"location": "missing.bin"}, "'missing.bin'.*is not there"),
        ({"length": "999999999999"}, r"which has \d+ bytes"),
        ({"offset": "-4096"}, "lies at -4096"),
        ({"offset": "many"}, "says no number"),
    ],
)
def test_a_tensor_reads_its_own_file_and_nothing_beyond(parts, tmp_path, told, sentence):
    upload = bundle(relocated(parts, **told), tmp_path / "model.zip")
    with pytest.raises(IntakeError, match=sentence):
        intake.prepare(upload, "onnx", tmp_path / "clean.onnx")
    assert not (tmp_path / "clean.parts").exists()


def test_paths_that_climb_links_and_second_models_are_refused(parts, tmp_path):
    def refused(name: str, change) -> str:
        upload = bundle(parts, tmp_path / f"{name}.zip")
        with zipfile.ZipFile(upload, "a") as archive:
            change(archive)
        with pytest.raises(IntakeError) as problem:
            intake.prepare(upload, "onnx", tmp_path / "clean.onnx")
        return str(problem.value)

    link = zipfile.ZipInfo("more.bin")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "plain names" in refused("climbs", lambda archive: archive.writestr("../evil.bin", b"x"))
    assert "plain names" in refused("elsewhere", lambda archive: archive.writestr("other/evil.bin", b"x"))
    assert "a link" in refused("link", lambda archive: archive.writestr(link, "/etc/passwd"))
    assert "2 .onnx files" in refused("two", lambda archive: archive.writestr("second.onnx", b"x"))
    assert not (tmp_path / "evil.bin").exists()


def test_a_bomb_is_refused_by_its_directory(parts, tmp_path):
    upload = bundle(parts, tmp_path / "model.zip")
    with zipfile.ZipFile(upload, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.bin", bytes(64 * 1024**2))
    with pytest.raises(IntakeError, match="which no weights do"):
        intake.prepare(upload, "onnx", tmp_path / "clean.onnx")


def test_a_pt2_is_not_taken_for_one(tiny_pt2):
    assert not external.is_bundle(tiny_pt2)
    assert intake.sniff(tiny_pt2) == "pt2"
