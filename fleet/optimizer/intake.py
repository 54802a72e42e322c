"""What is accepted as a model: a `.pt2` of torch.export, an `.onnx` file, or a zip of one with its external data.

They are told by their content, not by their name.

`accept` is the cheap look that an upload gets in the server: it reads a few bytes and parses nothing. `prepare`
reads the whole file, and runs in a confined child process only.
"""

import hashlib
import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fleet.optimizer import external, onnx_file
from fleet.optimizer.archive import rewrite
from fleet.optimizer.errors import IntakeError

Format = Literal["pt2", "onnx"]

#: A protobuf cannot be larger, and a `.pt2` of this size is a different machine's work.
MAX_BYTES = {"onnx": 2 * 1024**3 - 1, "pt2": 8 * 1024**3}
MAX_FILE_NAME = 200
MAX_TENSORS = 100_000
MAX_NODES = 200_000
#: Elements of one tensor: 16 GiB of float32.
MAX_ELEMENTS = 2**32
#: Graphs within graphs (If, Loop).
MAX_NESTING = 8

_HEAD = 4096
_FILE_NAME = re.compile(r"[^/\\\x00-\x1f\x7f]+\Z")
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})


@dataclass(frozen=True, slots=True)
class Accepted:
    format: Format
    size: int
    digest: str


def accept(path: Path, file_name: str) -> Accepted:
    """The format, size and SHA-256 of an uploaded file. Raises IntakeError when it cannot be a model."""
    if not _FILE_NAME.match(file_name) or len(file_name) > MAX_FILE_NAME or file_name in {".", ".."}:
        raise IntakeError(f"the file name {file_name[:80]!r} is not accepted: use a plain name without folders")
    if not path.exists():
        raise IntakeError(f"there is no file {file_name}")
    if path.is_symlink() or not path.is_file():
        raise IntakeError(f"{file_name} is no plain file")
    size = path.stat().st_size
    if size == 0:
        raise IntakeError(f"{file_name} is empty")
    kind = sniff(path)
    if size > MAX_BYTES[kind]:
        raise IntakeError(f"{file_name} has {size} bytes, the limit for .{kind} is {MAX_BYTES[kind]}")
    if Path(file_name).suffix.lower() not in {"", f".{kind}"} | ({".zip"} if external.is_bundle(path) else set()):
        raise IntakeError(f"{file_name} holds a .{kind} model: name it so")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Accepted(kind, size, digest)


def sniff(path: Path) -> Format:
    """The format by content. Raises IntakeError, which says what the file is instead when that can be told."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(b"PK\x03\x04"):
        if b"data.pkl" in head or b"constants.pkl" in head:
            raise IntakeError(
                "the file is a pickle (torch.save or TorchScript), which can run code when it is read: "
                "export the model with torch.export.export and torch.export.save"
            )
        if not zipfile.is_zipfile(path):
            raise IntakeError("the archive is cut off: upload it again")
        return "onnx" if external.is_bundle(path) else "pt2"
    if re.match(rb"\x80[\x02-\x05]", head):
        raise IntakeError("the file is a pickle, which can run code when it is read: upload .pt2 or .onnx")
    if head[8:9] == b"{" and b'"dtype"' in head:
        raise IntakeError("the file is safetensors: weights without a program. Export the model to .pt2 or .onnx")
    if head.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf")):
        raise IntakeError("the file is compressed: upload the .pt2 or .onnx itself")
    if head[4:8] == b"TFL3":
        raise IntakeError("the file is a TensorFlow Lite model: export it to .onnx")
    if head[:1] == b"\x08" and len(head) > 16:  # ModelProto.ir_version, which every exporter writes first
        return "onnx"
    raise IntakeError("the file is neither a torch.export archive (.pt2) nor an ONNX model (.onnx)")


def prepare(source: Path, kind: Format, target: Path) -> list[str]:
    """Write the cleaned model to `target`; returns notes for the log. Only ever called in a confined child."""
    if kind == "pt2":
        return [f"left out of the upload: {name}" for name in rewrite(source, target)]
    if zipfile.is_zipfile(source):
        return external.unpack(source, target, check_onnx)
    check_onnx(source)
    shutil.copyfile(source, target)
    return []


def check_onnx(path: Path, beside: external.Sizes | None = None) -> None:
    """Raises IntakeError unless the file is a valid ONNX model with shapes that can be real.

    Tensors may lie in the files `beside` it, and nowhere else.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model(path, load_external_data=False)
    except DecodeError as problem:
        raise IntakeError(f"the .onnx file is damaged: {problem}") from problem
    for opset in model.opset_import:
        if opset.domain not in _DOMAINS:
            raise IntakeError(f"the model needs operators of {opset.domain[:80]!r}, which no device here has")
        if opset.domain in {"", "ai.onnx"} and opset.version > onnx.defs.onnx_opset_version():
            raise IntakeError(
                f"the model uses operator set {opset.version}, the newest known here is "
                f"{onnx.defs.onnx_opset_version()}: export it with an older one"
            )
    if not model.graph.input or not model.graph.output:
        raise IntakeError("the model has no inputs or no outputs")
    onnx_file.specs(model)
    files = beside or {}
    _check_graph(model.graph, 0, files)
    for function in model.functions:
        _check_nodes(function.node, 0, files)
    try:
        # By its path: external data are looked for in its folder.
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as problem:
        raise IntakeError(f"the ONNX checker refuses the model: {str(problem).splitlines()[0][:300]}") from problem


def _check_graph(graph, depth: int, beside: external.Sizes) -> None:  # type: ignore[no-untyped-def]  # protobuf messages have no types
    if depth > MAX_NESTING:
        raise IntakeError(f"the model nests graphs deeper than {MAX_NESTING}")
    if len(graph.initializer) > MAX_TENSORS or len(graph.node) > MAX_NODES:
        raise IntakeError(
            f"the model has {len(graph.initializer)} tensors and {len(graph.node)} nodes; "
            f"the limits are {MAX_TENSORS} and {MAX_NODES}"
        )
    for tensor in graph.initializer:
        _check_tensor(tensor, beside)
    for sparse in graph.sparse_initializer:
        _check_tensor(sparse.values, beside)
        _check_tensor(sparse.indices, beside)
    for value in (*graph.input, *graph.output, *graph.value_info):
        shape = value.type.tensor_type.shape.dim
        _check_shape(value.name, [dim.dim_value for dim in shape if dim.HasField("dim_value")])
    _check_nodes(graph.node, depth, beside)


def _check_nodes(nodes, depth: int, beside: external.Sizes) -> None:  # type: ignore[no-untyped-def]  # protobuf messages have no types
    for node in nodes:
        for attribute in node.attribute:
            for tensor in (attribute.t, *attribute.tensors):
                _check_tensor(tensor, beside)
            for inner in ((attribute.g,) if attribute.HasField("g") else ()) + tuple(attribute.graphs):
                _check_graph(inner, depth + 1, beside)


def _check_tensor(tensor, beside: external.Sizes) -> None:  # type: ignore[no-untyped-def]  # protobuf messages have no types
    if tensor.data_location or tensor.external_data:
        external.check(tensor, beside)
    _check_shape(tensor.name, list(tensor.dims))


def _check_shape(name: str, shape: list[int]) -> None:
    elements = 1
    for size in shape:
        if size < 0:
            raise IntakeError(f"the tensor {name[:80]!r} has a negative size: {shape[:16]}")
        elements *= max(1, size)
    if elements > MAX_ELEMENTS:
        raise IntakeError(f"the tensor {name[:80]!r} of shape {shape[:16]} has more than {MAX_ELEMENTS} elements")
