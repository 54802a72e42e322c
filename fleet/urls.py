"""Every address of the server."""

from django.urls import include, path

from fleet.api.routes import api

urlpatterns = [
    path("api/", api.urls),
    path("", include("fleet.dashboard.urls")),
]
