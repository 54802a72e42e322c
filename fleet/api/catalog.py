"""Models, versions, trials, variants and releases."""

from django.shortcuts import get_object_or_404
from ninja import File, Form, Router, Status
from ninja.files import UploadedFile
from ninja.pagination import paginate

from fleet.accounts.roles import Role
from fleet.api.auth import allow
from fleet.api.catalog_schemas import OptimizeIn, ReleaseIn, ReleaseOut, TrialOut, VariantOut, VersionOut
from fleet.api.jobs import out as job_out
from fleet.api.lists import Paged
from fleet.api.schemas import DeviceClassName, JobOut, Problem
from fleet.catalog import services
from fleet.catalog.models import Model, ModelVersion, Release, Trial, Variant
from fleet.errors import Refused
from fleet.jobs import services as jobs

router = Router(tags=["models"])
WRONG = {409: Problem}


def _versions():
    return ModelVersion.objects.select_related("model")


def version_out(version: ModelVersion) -> dict:
    fields = ("id", "number", "format", "file_name", "size", "digest", "evaluator", "notes", "created_at")
    return {"model": version.model.name, **{name: getattr(version, name) for name in fields}}


def variant_out(variant: Variant) -> dict:
    return {
        "id": variant.pk,
        "device_class": variant.device_class,
        "name": variant.trial.name,
        "manifest_digest": variant.manifest_digest,
        "bytes": variant.bytes,
        "proposed": variant.trial.verdict == "won",
        "trial": variant.trial_id,
        "recipe": variant.trial.recipe,
        "figures": variant.trial.figures,
        "lineage": variant.trial.lineage,
        "job": variant.trial.job_id,
    }


def trial_out(trial: Trial, variant: int | None) -> dict:
    fields = ("id", "name", "device_class", "verdict", "reason", "score", "recipe", "figures", "lineage")
    return {"variant": variant, "job": trial.job_id, **{name: getattr(trial, name) for name in fields}}


def release_out(release: Release) -> dict:
    return {
        "id": release.pk,
        "version": release.version_id,
        "number": release.number,
        "notes": release.notes,
        "created_by": release.created_by.username if release.created_by else None,
        "created_at": release.created_at,
        "variants": [variant_out(variant) for variant in release.variants.select_related("trial")],
    }


@router.get("/evaluators", response=list[str])
def evaluators(request):
    """The evaluators that are installed on the server."""
    return services.evaluators()


@router.post("/models/{name}/versions", response={201: VersionOut, **WRONG}, auth=allow(Role.OPERATOR))
def upload(
    request,
    name: str,
    file: File[UploadedFile],
    card: File[UploadedFile | None] = None,
    evaluation: File[UploadedFile | None] = None,
    evaluator: Form[str] = "",
    notes: Form[str] = "",
):
    """Upload the next version of a model: `.pt2` or `.onnx`, with an optional policy card and evaluation set."""
    version = services.add_version(
        name,
        file,
        file.name or "model",
        card=card.read(services.MAX_CARD + 1) if card else None,
        evaluation=evaluation,
        evaluator=evaluator,
        notes=notes,
        by=request.user,
    )
    return Status(201, version_out(version))


@router.get("/models/{name}/versions", response=list[VersionOut])
def versions(request, name: str):
    return [version_out(version) for version in _versions().filter(model=get_object_or_404(Model, name=name))]


@router.get("/versions/{version_id}", response=VersionOut)
def version(request, version_id: int):
    return version_out(get_object_or_404(_versions(), pk=version_id))


@router.post("/versions/{version_id}/optimize", response={201: JobOut, **WRONG}, auth=allow(Role.OPERATOR))
def optimize(request, version_id: int, body: OptimizeIn):
    """Make and measure a variant for one class."""
    found = get_object_or_404(_versions(), pk=version_id)
    return Status(201, job_out(jobs.start_optimization(found, by=request.user, **body.dict())))


class _Trials(Paged):
    """The variants of a page's trials: one query."""

    def paginate_queryset(self, queryset, pagination, **params):
        page = super().paginate_queryset(queryset, pagination, **params)
        rows = list(page["items"])
        made = dict(Variant.objects.filter(trial__in=rows).values_list("trial", "pk"))
        page["items"] = [trial_out(row, made.get(row.pk)) for row in rows]
        return page


@router.get("/versions/{version_id}/trials", response=list[TrialOut])
@paginate(_Trials)
def trials(request, version_id: int, device_class: DeviceClassName | None = None):
    """Every candidate with its figures, its verdict and the reason."""
    rows = get_object_or_404(_versions(), pk=version_id).trials.all()
    return rows.filter(device_class=device_class) if device_class else rows


@router.get("/versions/{version_id}/variants", response=list[VariantOut])
def variants(request, version_id: int):
    """Every trial that passed its gates, as something that can be released."""
    rows = get_object_or_404(_versions(), pk=version_id).variants.select_related("trial")
    return [variant_out(variant) for variant in rows]


@router.post("/versions/{version_id}/releases", response={201: ReleaseOut, **WRONG}, auth=allow(Role.OPERATOR))
def release(request, version_id: int, body: ReleaseIn):
    """Choose one variant per class to roll out: the ones named, or each class's winner."""
    found = get_object_or_404(_versions(), pk=version_id)
    if body.variants is None:
        chosen = list(services.proposed(found).values())
    else:
        known = Variant.objects.select_related("trial").in_bulk(body.variants)
        if unknown := sorted(set(body.variants) - set(known)):
            raise Refused(f"There is no variant {', '.join(map(str, unknown))}.")
        chosen = list(known.values())
    return Status(
        201, release_out(services.create_release(found, chosen, request.user, body.notes, confirmed=body.confirmed))
    )


@router.get("/releases/{release_id}", response=ReleaseOut)
def get_release(request, release_id: int):
    return release_out(get_object_or_404(Release, pk=release_id))
