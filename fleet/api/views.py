"""Saved views, and lists and charts as files."""

from django.shortcuts import get_object_or_404
from ninja import Router, Status

from fleet.accounts.roles import Role, role_of
from fleet.api.auth import allow
from fleet.api.schemas import Problem, SearchProblem, ViewIn, ViewOut
from fleet.dashboard.export.answers import answer
from fleet.dashboard.export.tables import maker
from fleet.search import services
from fleet.search.models import SavedView

router = Router(tags=["views"])
WRONG = {409: Problem}


def _out(kept: SavedView) -> dict:
    return {
        **{name: getattr(kept, name) for name in ("id", "name", "address", "shared")},
        "owner": kept.owner.username,
    }


@router.get("/views", response=list[ViewOut])
def kept_views(request):
    """One's own, and those that others share."""
    return [_out(kept) for kept in services.views_for(request.user)]


@router.post("/views", response={201: ViewOut, **WRONG, 422: SearchProblem}, auth=allow(Role.OPERATOR))
def keep_view(request, body: ViewIn):
    """A name that the caller has used already is given to this address."""
    return Status(201, _out(services.save_view(body.name, body.address, body.shared, request.user)))


@router.delete("/views/{view_id}", response={204: None, **WRONG}, auth=allow(Role.OPERATOR))
def delete_view(request, view_id: int):
    kept = get_object_or_404(SavedView.objects.select_related("owner"), pk=view_id)
    services.delete_view(kept, request.user, role_of(request.user) is Role.ADMIN)
    return Status(204, None)


@router.get("/export/{what}")
def export(request, what: str, format: str = "csv"):  # what callers say
    """All `devices`, `rollouts`, `jobs`, `events` or `alerts` as CSV, or as Parquet where the server has pyarrow.

    The list's page has the same parameters. `compare` gives the figures of two versions, classes or devices
    (`kind=version&a=arm@1&b=arm@2&range=24h`).
    """
    return answer(request, maker(what), format)


@router.get("/export/{what}/{of}")
def export_of(request, what: str, of: str, format: str = "csv"):
    """Of a `group` its members, of a `rollout` its devices, of a `device` the points of its charts (`range=24h`).

    Of `compare` the distribution of the `latency` or of the `energy`.
    """
    return answer(request, maker(what, of), format)
