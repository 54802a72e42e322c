"""What can be exported: all that a list or a chart shows, by the same parameters of its address."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.http import Http404
from django.utils import timezone

from fleet.dashboard.export.alerts import alerts
from fleet.dashboard.export.charts import measured
from fleet.dashboard.export.compared import distribution, figures
from fleet.dashboard.export.devices import devices, members
from fleet.dashboard.export.log import events, jobs
from fleet.dashboard.export.reading import Params
from fleet.dashboard.export.rollouts import deployments, rollouts
from fleet.dashboard.export.table import Table

_TABLES: dict[str, Callable[[Params, str, datetime], Table[Any]]] = {
    "devices": devices,
    "rollouts": rollouts,
    "jobs": jobs,
    "events": events,
    "alerts": alerts,
    "compare": figures,
}
_OF: dict[str, Callable[[Params, str, datetime], Table[Any]]] = {
    "group": members,
    "rollout": deployments,
    "device": measured,
    "compare": distribution,
}


def maker(what: str, of: str = "") -> Callable[[Params], Table[Any]]:
    """What makes the table with this name, of one thing where it is about one. Raises Http404."""
    make = (_OF if of else _TABLES).get(what)
    if make is None:
        raise Http404(f"There is no export of {what}.")
    return lambda params: make(params, of, timezone.now())
