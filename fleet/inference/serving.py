"""Which model answers a device, and the folder that it is loaded from."""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
from django.conf import settings
from django.db.models import Count, QuerySet

from agent.wire import manifest as wire
from fleet.catalog import store
from fleet.catalog.models import Variant
from fleet.inference.logins import Login
from fleet.rollouts.models import Deployment

#: Whose variant answers, the first there is: a server has the most room, so it has what lost the least.
CLASSES = ("edge_server", "mobile", "embedded")
_FILES: dict[wire.Role, str] = {"model": "model.onnx", "card": "card.json", "golden": "golden.npz"}


@dataclass(frozen=True, slots=True)
class Served:
    """A variant that answers for a version; `manifest` is its digest."""

    manifest: str
    model: str
    version: str
    variant: str
    device_class: str

    def __str__(self) -> str:
        return f"{self.model}@{self.version} {self.variant} ({self.device_class.replace('_', ' ')})"


def for_version(model: str, version: str) -> Served | None:
    """What answers for a version that a device named. One query."""
    if not version.isdecimal() or len(version) > 9:
        return None
    return _best(Variant.objects.filter(version__model__name=model, version__number=int(version)))


def for_device(login: Login) -> Served | None:
    """For a device that has no model: the version that it runs or should run, else the one rolled out to it last.

    A device on which nothing fits is left out of a rollout, and its deployment says so. Two queries at most.
    """
    manifest = login.runs or login.should_run
    if manifest:
        known = Variant.objects.filter(manifest_digest=manifest).values("version")[:1]
        return _best(Variant.objects.filter(version__in=known))
    last = Deployment.objects.filter(device=login.device).order_by("-created_at")
    return _best(Variant.objects.filter(version__in=last.values("rollout__release__version")[:1]))


def _best(variants: QuerySet[Variant]) -> Served | None:
    """Of the first class that has any: the released one, else the winner, else the newest that passed."""
    columns = ("manifest_digest", "version__model__name", "version__number", "trial__name", "device_class")
    rows = variants.filter(trial__verdict__in=("won", "passed")).order_by().annotate(released=Count("releases"))
    found = [
        (
            (CLASSES.index(row[4]), not released, verdict != "won", -number),
            Served(row[0], row[1], str(row[2]), *row[3:]),
        )
        for *row, released, verdict, number in rows.values_list(*columns, "released", "trial__verdict", "pk")
    ]
    return min(found, key=lambda each: each[0])[1] if found else None


def folder_of(served: Served) -> Path:
    """The variant's files, put together out of the store's parts. One query the first time.

    Raises OSError or ValueError when a part is missing or the whole has another digest.
    """
    folder = settings.WORK_DIR / "inference" / served.manifest
    if folder.is_dir():
        return folder
    stored = Variant.objects.filter(manifest_digest=served.manifest).values_list("manifest", flat=True).first()
    manifest = msgspec.convert(stored, wire.Manifest)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix="making-"))
    try:
        whole = hashlib.sha256()
        for part in manifest.parts:
            data = store.read(part.digest)
            whole.update(data)
            if part.role in _FILES:
                with (made / _FILES[part.role]).open("ab") as file:
                    file.write(data)
        if whole.hexdigest() != manifest.digest:
            raise ValueError(f"the parts of {served} have not the digest that its manifest names")
        os.replace(made, folder)
    except OSError:
        if not folder.is_dir():  # another process was quicker
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder
