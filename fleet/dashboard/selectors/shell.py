"""The counts of the navigation: one query for every page."""

from dataclasses import dataclass

from django.db.models import Count, QuerySet, Value

from agent.wire.states import Admission
from agent.wire.states import Rollout as RolloutState
from fleet.alerts.models import WAITING, Alert
from fleet.catalog.models import Model
from fleet.devices.models import Device, Group
from fleet.jobs.models import Job
from fleet.rollouts.models import Rollout


@dataclass(frozen=True, slots=True)
class Counts:
    """devices are those in service, pending those that wait for admission; rollouts and jobs the open
    ones, alerts those that wait for somebody."""

    devices: int = 0
    pending: int = 0
    groups: int = 0
    models: int = 0
    rollouts: int = 0
    jobs: int = 0
    alerts: int = 0


def _labeled(name: str, rows: QuerySet) -> QuerySet:
    return rows.order_by().annotate(name_=Value(name)).values("name_").annotate(n=Count("pk")).values_list("name_", "n")


def counts() -> Counts:
    present = Device.objects.filter(retired_at=None)
    first, *others = (
        _labeled("devices", present.filter(admission=Admission.ACCEPTED)),
        _labeled("pending", present.filter(admission=Admission.PENDING)),
        _labeled("groups", Group.objects.all()),
        _labeled("models", Model.objects.all()),
        _labeled("rollouts", Rollout.objects.filter(state__in=[RolloutState.RUNNING, RolloutState.PAUSED])),
        _labeled("jobs", Job.objects.filter(state__in=Job.OPEN)),
        _labeled("alerts", Alert.objects.filter(WAITING)),
    )
    return Counts(**dict(first.union(*others, all=True)))
