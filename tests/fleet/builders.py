"""Rows that tests stand on: a version with a variant per class, and a release of them."""

import json

from agent.wire import manifest as wire
from fleet.catalog.models import Model, ModelVersion, Release, Trial, Variant

CLASSES = ("embedded", "mobile", "edge_server")


def make_version(name: str = "arm", number: int = 1, evaluation: str = "cd" * 32) -> ModelVersion:
    model, _ = Model.objects.get_or_create(name=name)
    return ModelVersion.objects.create(
        model=model,
        number=number,
        format="onnx",
        file_name="arm.onnx",
        digest="ab" * 32,
        size=5_000_000,
        evaluation_digest=evaluation,
    )


def make_variant(version: ModelVersion, device_class: str, name: str = "fp16", verdict: str = "won") -> Variant:
    """A variant whose parts are not in the store: enough for everything that only reads rows."""
    trial = Trial.objects.create(
        version=version,
        device_class=device_class,
        key=wire.digest_of(f"{version.pk} {device_class} {name}".encode()),
        name=name,
        recipe={"original": name == "original"},
        figures={"bytes": 2_000_000, "p50_ms": 1.2},
        verdict=verdict,
        reason="the least objective among those that passed",
    )
    parts = tuple(
        wire.Part(wire.digest_of(f"{trial.key} {role}".encode()), size, role)
        for role, size in (("model", 2_000_000), ("card", 1000), ("golden", 5000))
    )
    manifest = wire.Manifest(
        model=version.model.name,
        version=str(version.number),
        variant=name,
        device_class=device_class,
        digest=wire.digest_of(trial.key.encode()),
        size=sum(part.size for part in parts),
        parts=parts,
    )
    data = wire.encode(manifest)
    return Variant.objects.create(
        version=version,
        device_class=device_class,
        trial=trial,
        manifest_digest=wire.digest_of(data),
        manifest=json.loads(data),
        bytes=manifest.size,
    )


def make_release(version: ModelVersion | None = None, classes=CLASSES) -> Release:
    version = version or make_version()
    release = Release.objects.create(version=version, number=version.releases.count() + 1)
    release.variants.set([make_variant(version, name, f"fp16-{release.number}") for name in classes])
    return release
