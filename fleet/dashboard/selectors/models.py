"""Models and their versions, as lists."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Max

from fleet.catalog.models import Model, ModelVersion, Release, Variant
from fleet.dashboard.selectors.naming import running
from fleet.devices.models import Device
from fleet.jobs.models import Job


def devices_by_version() -> Counter[tuple[str, int]]:
    """How many devices in service report that they run (model, number); two queries."""
    rows = (
        Device.objects.filter(retired_at=None)
        .exclude(active_manifest="")
        .order_by()
        .values_list("active_manifest")
        .annotate(Count("pk"))
    )
    counted = dict(rows)
    names = running(counted)
    found: Counter[tuple[str, int]] = Counter()
    for digest, name in names.items():
        found[name.model, name.number] += counted[digest]
    return found


@dataclass(frozen=True, slots=True)
class ModelLine:
    name: str
    description: str
    versions: int
    newest: int | None
    uploaded_at: datetime | None
    releases: int
    devices: int


def models() -> list[ModelLine]:
    """Every model; four queries."""
    running_now = devices_by_version()
    devices: Counter[str] = Counter()
    for (name, _), number in running_now.items():
        devices[name] += number
    releases = dict(Release.objects.order_by().values_list("version__model_id").annotate(Count("pk")))
    rows = Model.objects.annotate(
        n=Count("versions"), newest=Max("versions__number"), uploaded=Max("versions__created_at")
    )
    return [
        ModelLine(
            row.name, row.description, row.n, row.newest, row.uploaded, releases.get(row.pk, 0), devices[row.name]
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class VersionLine:
    number: int
    format: str
    file_name: str
    size: int
    uploaded_at: datetime
    uploaded_by: str
    notes: str
    classes: tuple[str, ...]
    releases: int
    devices: int
    working: bool


def versions(model: Model) -> list[VersionLine]:
    """Every version of a model, newest first; six queries."""
    running_now = devices_by_version()
    rows = list(
        ModelVersion.objects.filter(model=model)
        .select_related("uploaded_by")
        .annotate(n_releases=Count("releases", distinct=True))
        .order_by("-number")
    )
    made: dict[int, set[str]] = {}
    for version_id, device_class in Variant.objects.filter(version__model=model, trial__verdict="won").values_list(
        "version_id", "device_class"
    ):
        made.setdefault(version_id, set()).add(device_class)
    working = set(Job.objects.filter(version__model=model, state__in=Job.OPEN).values_list("version_id", flat=True))
    return [
        VersionLine(
            number=row.number,
            format=row.get_format_display(),
            file_name=row.file_name,
            size=row.size,
            uploaded_at=row.created_at,
            uploaded_by=row.uploaded_by.username if row.uploaded_by else "",
            notes=row.notes,
            classes=tuple(sorted(made.get(row.pk, ()))),
            releases=row.n_releases,
            devices=running_now[model.name, row.number],
            working=row.pk in working,
        )
        for row in rows
    ]
