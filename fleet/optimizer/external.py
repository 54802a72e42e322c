"""An ONNX model whose tensors lie in files beside it, uploaded as one zip; made into one plain file.

A tensor names its file. Only files of the same archive count: no path, no link, no byte beyond the file's end.
"""

import re
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fleet.optimizer.errors import IntakeError

#: Of each file beside the model, its bytes.
Sizes = dict[str, int]

MAX_ENTRIES, MAX_UNPACKED = 10_000, 8 * 1024**3
#: A protobuf cannot be larger.
MAX_FILE = 2 * 1024**3 - 1
#: How far an honest archive of weights shrinks.
MAX_RATIO = 200
_PLAIN = re.compile(r"[A-Za-z0-9_.+-][A-Za-z0-9_. +:()-]{0,199}\Z")
_COPY = 1024**2
#: Where a zip's end record lies, and the largest directory that is read for a look.
_TAIL, MAX_DIRECTORY = 65_557, 4 * 1024**2


def is_bundle(path: Path) -> bool:
    """Whether it is a zip with an `.onnx` in it. Reads the directory only, and none that could fill the memory."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL))
        tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or int.from_bytes(tail[end + 12 : end + 16], "little") > MAX_DIRECTORY:
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(entry.filename.lower().endswith(".onnx") for entry in archive.infolist()[:MAX_ENTRIES])
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def unpack(source: Path, target: Path, accept: Callable[[Path, Sizes], None]) -> list[str]:
    """Write the model as one file to `target`; `accept` looks at it before its tensors are read. Returns notes."""
    import onnx

    folder = target.with_suffix(".parts")
    folder.mkdir()
    try:
        with zipfile.ZipFile(source) as archive:
            names = _extract(archive, folder)
        model_name = next(name for name in names if name.lower().endswith(".onnx"))
        accept(folder / model_name, {name: (folder / name).stat().st_size for name in names if name != model_name})
        model = onnx.load_model(folder / model_name)
        if model.ByteSize() > MAX_FILE:
            raise IntakeError("the model has more than 2 GiB in all, which one ONNX file cannot hold")
        onnx.save_model(model, target)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as problem:
        raise IntakeError(f"the archive is damaged: {problem}") from problem
    finally:
        shutil.rmtree(folder)
    return [f"put together from {len(names)} files"] if len(names) > 1 else []


def _extract(archive: zipfile.ZipFile, folder: Path) -> list[str]:
    """The plain files of one folder of the archive; returns their names. Raises IntakeError for anything else."""
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    total = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_ENTRIES or total > MAX_UNPACKED:
        raise IntakeError(f"the archive has {len(entries)} files and {total} bytes unpacked, which is too much")
    models = [entry.filename for entry in entries if entry.filename.lower().endswith(".onnx")]
    if len(models) != 1:
        raise IntakeError(f"the archive holds {len(models)} .onnx files: put one model into it")
    root = models[0].rpartition("/")[0]
    names = []
    for entry in entries:
        parent, _, name = entry.filename.rpartition("/")
        if parent != root or not _PLAIN.match(name) or name in {".", ".."} or "\\" in entry.filename:
            raise IntakeError(
                f"the archive holds {entry.filename[:80]!r}: put the model and its data files beside each other, "
                "under plain names"
            )
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise IntakeError(f"the archive holds a link, {entry.filename[:80]!r}")
        if entry.file_size > MAX_RATIO * max(entry.compress_size, 1024):
            raise IntakeError(f"{entry.filename[:80]!r} unpacks to {entry.file_size} bytes, which no weights do")
        _copy(archive, entry, folder / name)
        names.append(name)
    return names


def _copy(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    left = entry.file_size
    with archive.open(entry) as source, target.open("xb") as out:
        while piece := source.read(_COPY):
            left -= len(piece)
            if left < 0:
                raise IntakeError(f"{entry.filename[:80]!r} holds more bytes than it says")
            out.write(piece)


def check(tensor: Any, beside: Sizes) -> None:
    """Raises IntakeError unless the tensor's bytes lie in a file beside the model."""
    told = {entry.key: entry.value for entry in tensor.external_data}
    where = told.get("location", "")
    if where not in beside:
        raise IntakeError(
            f"the tensor {tensor.name[:80]!r} lies in another file ({where[:80]!r}), which is not there: upload a zip "
            "of the model and its data files beside each other, or save the model as one file"
        )
    try:
        offset, length = int(told.get("offset", "0")), int(told.get("length", "0"))
    except ValueError as problem:
        raise IntakeError(f"the tensor {tensor.name[:80]!r} says no number where its bytes lie") from problem
    if offset < 0 or length < 0 or offset + length > beside[where]:
        raise IntakeError(
            f"the tensor {tensor.name[:80]!r} lies at {offset} to {offset + length} of {where[:80]!r}, "
            f"which has {beside[where]} bytes"
        )
