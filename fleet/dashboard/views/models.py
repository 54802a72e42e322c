"""Models: what was uploaded."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET, require_POST

from fleet.accounts.roles import Role, requires
from fleet.catalog import services
from fleet.catalog.models import Model, ModelVersion
from fleet.dashboard.forms.models import UploadForm
from fleet.dashboard.pages import Lazy, go, page, saved
from fleet.dashboard.selectors import models as select


@require_GET
@requires(Role.VIEWER)
def everything(request: HttpRequest) -> HttpResponse:
    context = {"lazy": Lazy(models=select.models), "upload_form": UploadForm()}
    return page(request, "models/models.html", context, {"model-list": "models/list.html"})


@require_POST
@requires(Role.OPERATOR)
def upload(request: HttpRequest) -> HttpResponse:
    form = UploadForm(request.POST, request.FILES)
    made: list[ModelVersion] = []

    def store() -> None:
        given = form.cleaned_data
        made.append(
            services.add_version(
                given["name"],
                given["upload"],
                given["upload"].name,
                card=given["card"],
                evaluation=given["evaluation"],
                evaluator=given["evaluator"],
                notes=given["notes"],
                by=request.user,
            )
        )

    if not saved(form, store):
        context = {"upload_form": form}
        if request.htmx:
            return page(request, "models/upload_form.html", context, status=422)
        context["lazy"] = Lazy(models=select.models)
        return page(request, "models/models.html", context, status=422)
    return go(request, "models.version", made[0].model.name, made[0].number)


@require_GET
@requires(Role.VIEWER)
def detail(request: HttpRequest, name: str) -> HttpResponse:
    model = get_object_or_404(Model, name=name)
    context = {
        "model": model,
        "lazy": Lazy(versions=lambda: select.versions(model)),
        "upload_form": UploadForm(initial={"name": model.name}),
    }
    return page(request, "models/model.html", context, {"version-list": "models/versions.html"})
