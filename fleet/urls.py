"""Every address of the server."""

from django.urls import include, path

from fleet.api.metrics import metrics
from fleet.api.routes import api, unknown

urlpatterns = [
    path("api/", api.urls),
    path("metrics", metrics, name="metrics"),
    path("api/<path:rest>", unknown),
    path("", include("fleet.dashboard.urls")),
]
