"""Rewriting an uploaded `.pt2` into one that holds raw numbers and a checked program, and nothing else.

A `.pt2` is a zip archive whose entries lie in it as they are. torch 2.13 writes, below one root folder:
`models/model.json` (the program), `data/weights/model_weights_config.json` and `data/weights/weight_<n>` (raw numbers),
the same for `data/constants`, and `data/sample_inputs/model.pt`, a pickle that `torch.export.load` would run. What is
not on this list (compiled libraries, extra files, pickled constants) is left out.
"""

import re
import stat
import zipfile
from pathlib import Path
from typing import TypeVar

import msgspec

from fleet.optimizer.errors import IntakeError
from fleet.optimizer.program import ITEM_SIZE, Payload, Payloads, Program, SymInt

MAX_ENTRIES = 200_000
MAX_PROGRAM = 512 * 1024**2
MAX_NAME = 512

_PROGRAM = "models/model.json"
_WEIGHTS = "data/weights/"
_CONSTANTS = "data/constants/"
_SAFE_NAME = re.compile(r"[A-Za-z0-9_.+-]+(/[A-Za-z0-9_.+-]+)*\Z")
_COPY = 1024**2

T = TypeVar("T")


def rewrite(source: Path, target: Path) -> list[str]:
    """Write a clean copy of `source` to `target`; returns the names of the entries that were left out.

    Raises IntakeError, with a sentence, for whatever is not such an archive or does not fit the program's schema.
    """
    try:
        with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as clean:
            return _Rewriter(archive, source.stat().st_size, clean).run()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, UnicodeDecodeError) as problem:
        raise IntakeError(f"the .pt2 archive is damaged: {problem}") from problem


class _Rewriter:
    def __init__(self, archive: zipfile.ZipFile, size: int, clean: zipfile.ZipFile) -> None:
        self._archive, self._clean = archive, clean
        self._entries = _entries(archive, size)
        self._kept: set[str] = set()

    def run(self) -> list[str]:
        if self._text("archive_format") != "pt2" or self._text("archive_version") != "0":
            raise IntakeError("the file is no torch.export archive of version 0: save it with torch.export.save")
        if "byteorder" in self._entries and self._text("byteorder") != "little":
            raise IntakeError("the weights are written in big-endian byte order, which is not accepted")
        others = [name for name in self._entries if name.startswith("models/") and name != _PROGRAM]
        if others:
            raise IntakeError(f"the archive holds a second program, {others[0]!r}: upload one model at a time")
        for folder in (_WEIGHTS, _CONSTANTS):
            config = self._struct(f"{folder}model_{folder.split('/')[1]}_config.json", Payloads)
            self._payloads(folder, config)
        self._struct(_PROGRAM, Program)
        for name, text in (("archive_format", b"pt2"), ("archive_version", b"0"), ("byteorder", b"little")):
            self._write(name, text)
        # torch's reader wants this record of its container format, and an entry for sample inputs: empty means none.
        self._write(".data/version", b"6")
        self._write("data/sample_inputs/model.pt", b"")
        return sorted(set(self._entries) - self._kept)

    def _struct(self, name: str, kind: type[T]) -> T | None:
        try:
            checked = msgspec.json.decode(self._read(name, MAX_PROGRAM), type=kind)
        except (msgspec.DecodeError, ValueError, RecursionError) as problem:
            raise IntakeError(f"{name} is not accepted: {problem}") from problem
        self._write(name, msgspec.json.encode(checked))
        return checked

    def _payloads(self, folder: str, payloads: Payloads | None) -> None:
        by_path: dict[str, Payload] = {}
        for name, payload in (payloads.config if payloads else {}).items():
            first = by_path.setdefault(payload.path_name, payload)
            if first.tensor_meta.dtype != payload.tensor_meta.dtype:
                raise IntakeError(f"{name} reads {payload.path_name} as another type than its neighbours do")
            self._fits(folder, name, payload)
        for path in by_path:
            self._copy(folder + path)

    def _fits(self, folder: str, name: str, payload: Payload) -> None:
        """Sizes, strides and offset must lie within the record: torch allocates what an empty record claims."""
        meta = payload.tensor_meta
        sizes = [_fixed(name, size) for size in meta.sizes]
        strides = [_fixed(name, stride) for stride in meta.strides]
        offset = _fixed(name, meta.storage_offset)
        if len(sizes) != len(strides):
            raise IntakeError(f"the weight {name} has {len(sizes)} sizes and {len(strides)} strides")
        record = self._entries.get(folder + payload.path_name)
        if record is None:
            raise IntakeError(f"the archive lacks {payload.path_name}, the numbers of {name}")
        last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
        needed = 0 if 0 in sizes else (last + 1) * ITEM_SIZE[meta.dtype]
        if needed > record.file_size or record.file_size % ITEM_SIZE[meta.dtype]:
            raise IntakeError(f"{name} claims {needed} bytes of {payload.path_name}, which has {record.file_size}")

    def _text(self, name: str) -> str:
        return self._read(name, 64).decode("ascii", "replace").strip()

    def _read(self, name: str, limit: int) -> bytes:
        entry = self._entries.get(name)
        if entry is None:
            raise IntakeError(f"the archive lacks {name}: save the model with torch.export.save")
        if entry.file_size > limit:
            raise IntakeError(f"{name} has {entry.file_size} bytes, the limit is {limit}")
        self._kept.add(name)
        return self._archive.read(entry)

    def _write(self, name: str, data: bytes) -> None:
        self._clean.writestr(f"model/{name}", data)

    def _copy(self, name: str) -> None:
        self._kept.add(name)
        with self._archive.open(self._entries[name]) as record, self._clean.open(f"model/{name}", "w") as copy:
            while piece := record.read(_COPY):
                copy.write(piece)


def _fixed(name: str, size: SymInt) -> int:
    if not isinstance(size.as_int, int):
        raise IntakeError(f"the weight {name} has a shape that depends on the input")
    return size.as_int


def _entries(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The archive's files without their root folder. Refuses what torch never writes: bombs are made of it."""
    infos = archive.infolist()
    if len(infos) > MAX_ENTRIES:
        raise IntakeError(f"the archive has {len(infos)} entries, the limit is {MAX_ENTRIES}")
    entries: dict[str, zipfile.ZipInfo] = {}
    roots: set[str] = set()
    for info in infos:
        # orig_filename: zipfile cuts filename off at a NUL.
        name = info.orig_filename
        if len(name) > MAX_NAME or not _SAFE_NAME.match(name) or ".." in name.split("/"):
            raise IntakeError(f"the archive has an entry with the name {name[:120]!r}, which is not accepted")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise IntakeError(f"the archive's entry {name!r} is a link")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
            raise IntakeError(
                f"the archive's entry {name!r} is compressed or encrypted; torch.export.save stores it plainly"
            )
        root, _, inner = name.partition("/")
        roots.add(root)
        if not inner or inner in entries or len(roots) > 1:
            raise IntakeError(f"the archive's entry {name!r} is there twice, or not below one root folder")
        entries[inner] = info
    total = sum(info.file_size for info in infos)
    if total > size:
        raise IntakeError(f"the archive's entries claim {total} bytes in a file of {size}: they overlap")
    return entries
