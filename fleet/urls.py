"""Every address of the server."""

from django.urls import include, path

from fleet.api.routes import api, unknown

urlpatterns = [
    path("api/", api.urls),
    path("api/<path:rest>", unknown),
    path("", include("fleet.dashboard.urls")),
]
