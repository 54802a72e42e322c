"""Installed variants without a store: the files of one folder."""

from pathlib import Path

from agent.wire import manifest as wire
from tests.agent.variants import Variant

_NAMES = {"model": "model.onnx", "card": "card.json", "golden": "golden.npz"}


def folder_of(variant: Variant, where: Path) -> Path:
    where.mkdir(parents=True)
    for role, name in _NAMES.items():
        parts: tuple[wire.Part, ...] = variant.manifest.of(role)
        if parts:
            (where / name).write_bytes(b"".join(variant.parts[part.digest] for part in parts))
    (where / "manifest.json").write_bytes(variant.data)
    return where
