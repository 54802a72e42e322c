"""The REST API: one router for each noun. OpenAPI at /api/openapi.json."""

from django.http import JsonResponse
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI
from ninja.errors import HttpError

from fleet.accounts.roles import Role, role_of
from fleet.api import alerts, catalog, devices, groups, inference, jobs, planner, rollouts, transfer, views
from fleet.api.auth import allow
from fleet.api.schemas import MeOut
from fleet.errors import Refused
from fleet.search.errors import SearchError

api = NinjaAPI(
    title="Edgefleet",
    version="1",
    description="Everything the pages do. Send `Authorization: Bearer <API token>`.",
    docs_url=None,  # its page would load scripts from another host
    auth=allow(Role.VIEWER),
)


@api.exception_handler(Refused)
def refused(request, problem):
    return api.create_response(request, {"detail": str(problem)}, status=409)


@api.exception_handler(SearchError)
def unreadable(request, problem):
    answer = {"detail": str(problem), "at": problem.at, "length": problem.length, "instead": problem.instead}
    return api.create_response(request, answer, status=422)


@api.exception_handler(HttpError)
def http_error(request, problem):
    return api.create_response(request, {"detail": str(problem)}, status=problem.status_code)


@api.get("/me", response=MeOut, tags=["people"])
def me(request):
    """Who the caller is."""
    return {"username": request.user.username, "role": role_of(request.user).label}


@csrf_exempt
def unknown(request, rest):
    """Every other address below /api/: programs read JSON, also about what there is not."""
    words = f"There is no /api/{rest}; /api/openapi.json lists what there is."
    return JsonResponse({"detail": words}, status=404)


api.add_router("", devices.router)
api.add_router("", groups.router)
api.add_router("", catalog.router)
api.add_router("", jobs.router)
api.add_router("", rollouts.router)
api.add_router("", transfer.router)
api.add_router("", planner.router)
api.add_router("", inference.router)
api.add_router("", views.router)
api.add_router("", alerts.router)
