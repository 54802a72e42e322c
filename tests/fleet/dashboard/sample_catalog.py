"""Two versions of a model as the optimizer leaves them: tried for each class, and released."""

import json
from datetime import datetime, timedelta
from pathlib import Path

from django.contrib.auth.models import User

from agent.wire import manifest as wire
from fleet import demo
from fleet.catalog.models import Model, ModelVersion, Release, Trial, Variant
from tests.fleet.dashboard import sample_trials
from tests.fleet.dashboard.sample_devices import BOARDS

CARD = json.loads((Path(demo.__file__).parent / "assets" / "card.json").read_text())


def version(number: int, operator: User, now: datetime) -> ModelVersion:
    model, _ = Model.objects.get_or_create(
        name="tabletop", defaults={"description": "Grasps what it is told to on a table."}
    )
    version = ModelVersion.objects.create(
        model=model,
        number=number,
        format="pt2",
        file_name=f"tabletop-{number}.pt2",
        digest=wire.digest_of(f"file {number}".encode()),
        size=5_260_000,
        card=CARD | {"parts": {name: [f"{name}."] for name in ("vision", "language", "action")}},
        evaluator="tabletop",
        notes="" if number == 1 else "Trained 2,000 steps longer, with the lamp at the left.",
        uploaded_by=operator,
        created_at=now - timedelta(days=12 - 4 * number),
    )
    for device_class in BOARDS:
        _trials(version, device_class)
    return version


def _trials(version: ModelVersion, device_class: str) -> None:
    for tried in sample_trials.TRIED:
        trial = Trial.objects.create(
            version=version,
            device_class=device_class,
            key=wire.digest_of(f"{version.pk} {device_class} {tried.name}".encode()),
            name=tried.name,
            recipe=tried.recipe,
            figures=tried.figures(),
            lineage=sample_trials.LINEAGE,
            verdict=tried.verdict,
            reason=tried.reason,
            score=tried.score,
        )
        if tried.verdict in ("won", "passed"):
            _variant(trial, tried.size)


def _variant(trial: Trial, size: int) -> Variant:
    parts = tuple(
        wire.Part(wire.digest_of(f"{trial.key} {role}".encode()), length, role)
        for role, length in (("model", size), ("card", 2400), ("golden", 64_000))
    )
    made = wire.Manifest(
        model="tabletop",
        version=str(trial.version.number),
        variant=trial.name,
        device_class=trial.device_class,
        digest=wire.digest_of(trial.key.encode()),
        size=sum(part.size for part in parts),
        parts=parts,
        memory_bytes=52_000_000,
    )
    data = wire.encode(made)
    return Variant.objects.create(
        version=trial.version,
        device_class=trial.device_class,
        trial=trial,
        manifest_digest=wire.digest_of(data),
        manifest=json.loads(data),
        bytes=made.size,
    )


def release(version: ModelVersion, operator: User) -> Release:
    release = Release.objects.create(version=version, number=1, created_by=operator)
    release.variants.set(version.variants.filter(trial__verdict="won"))
    return release
