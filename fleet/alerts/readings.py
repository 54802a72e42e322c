"""How the devices of a rule stand: those that meet its condition, and those that have an alert of it.

Devices that are well are never read: the database leaves them out. A rule takes two queries at most, and two more for
groups that its search names, whatever the number of devices.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Case, F, FloatField, Max, Min, Q, QuerySet, Sum, Value, When
from django.db.models.expressions import Combinable, ExpressionWrapper
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, NullIf

from agent.wire.states import DEPLOYMENT_BAD, Admission
from agent.wire.states import Command as CommandState
from agent.wire.states import Deployment as State
from fleet.alerts.conditions import CONDITIONS, MINUTES, Subject
from fleet.alerts.models import ACTIVE, Alert, Rule
from fleet.alerts.policy import Policy, Reading
from fleet.devices.liveness import Liveness, query
from fleet.devices.models import Device
from fleet.gateway.lease import NAME
from fleet.gateway.models import Lease, Outbox, Rejected
from fleet.jobs.models import Job
from fleet.rollouts.models import Command
from fleet.search.conditions import condition as searched
from fleet.search.conditions import newest_deployment
from fleet.search.language import parse
from fleet.telemetry.models import DeviceMinute

Found = dict[str, Reading]
#: A figure counts while its sample is younger than this, or than three of the device's own intervals.
FRESH = timedelta(minutes=2)

_COMMANDS_BAD = (CommandState.REJECTED, CommandState.FAILED, CommandState.EXPIRED)


def readings(rule: Rule, now: datetime) -> Found:
    """Readings by subject. A subject with an alert that is missing here is none of the rule's any more.

    Raises SearchError where the rule's search cannot be read.
    """
    if CONDITIONS[rule.condition].subject is Subject.SERVER:
        return {"": _SERVER[rule.condition](now)}
    active = Alert.objects.filter(rule_id=rule.pk, stage__in=ACTIVE).values("subject")
    return _DEVICES[rule.condition](devices_of(rule, now), rule.policy, now, Q(pk__in=active))


def devices_of(rule: Rule, now: datetime) -> QuerySet[Device]:
    """Those in service that its search finds."""
    service = Device.objects.filter(retired_at=None, admission=Admission.ACCEPTED).order_by()
    return service.filter(searched(parse(rule.query), now)) if rule.query else service


# --- Devices --------------------------------------------------------------------------------------------------------

Reader = Callable[[QuerySet[Device], Policy, datetime, Q], Found]


def _beyond(name: str, policy: Policy) -> Q:
    return Q((f"{name}__{'gt' if policy.above else 'lt'}", policy.threshold))


def _state(holds: Callable[[datetime], Q], since: str = "") -> Reader:
    """A condition on devices; `since` is the column that says when it began."""

    def read(devices: QuerySet[Device], policy: Policy, now: datetime, active: Q) -> Found:
        met = holds(now)
        rows = devices.filter(met | active).annotate(
            met=Case(When(met, then=Value(1.0)), default=Value(0.0), output_field=FloatField())
        )
        if not since:
            return {pk: Reading(value) for pk, value in rows.values_list("pk", "met")}
        return {pk: Reading(value, began) for pk, value, began in rows.values_list("pk", "met", since)}

    return read


def _heard(reader: Reader) -> Reader:
    """Of what a device is while nothing comes from it. Without a gateway that listens nobody knows; and after it began
    to, devices have the rule's tolerance to come back."""

    def read(devices: QuerySet[Device], policy: Policy, now: datetime, active: Q) -> Found:
        gateway = Lease.objects.filter(name=NAME).first()
        found = reader(devices, policy, now, active)
        if gateway is None:
            return found
        if not _leads(gateway, now):
            return dict.fromkeys(found, Reading(None))
        return {pk: Reading(each.value, each.began and max(each.began, gateway.since)) for pk, each in found.items()}

    return read


def _leads(gateway: Lease, now: datetime) -> bool:
    return bool(gateway.holder) and gateway.until > now


def _figure(figure: Combinable) -> Reader:
    """What the newest sample said."""

    def read(devices: QuerySet[Device], policy: Policy, now: datetime, active: Q) -> Found:
        rows = devices.annotate(figure=figure).filter(_beyond("figure", policy) | active)
        return {
            pk: Reading(value if fresh(sample_at, interval, now) else None)
            for pk, value, sample_at, interval in rows.values_list(
                "pk", "figure", "sample_at", "config__telemetry_interval"
            )
        }

    return read


def fresh(sample_at: datetime | None, interval: float | None, now: datetime) -> bool:
    return sample_at is not None and now - sample_at <= max(FRESH, timedelta(seconds=3 * (interval or 0)))


def _clock(devices: QuerySet[Device], policy: Policy, now: datetime, active: Q) -> Found:
    """How far its newest sample lies in the future, in seconds. Behind cannot be told from late."""
    rows = devices.filter(Q(sample_at__gt=now + timedelta(seconds=policy.threshold)) | active)
    return {
        pk: Reading(max(0.0, (sample_at - now).total_seconds()) if sample_at else None)
        for pk, sample_at in rows.values_list("pk", "sample_at")
    }


def _counted(rows: Callable[[datetime], QuerySet], aggregate: Any) -> Reader:
    """Of rows of some time, by device. A device without any has 0."""

    def read(devices: QuerySet[Device], policy: Policy, now: datetime, active: Q) -> Found:
        found = {pk: Reading(0.0) for pk in devices.filter(active).values_list("pk", flat=True)}
        counted = rows(now).filter(device_id__in=devices.values("pk")).order_by().values("device_id")
        counted = counted.annotate(n=aggregate)
        some = counted.filter(Q(n__gt=policy.threshold) | Q(device_id__in=list(found)))
        return found | {row["device_id"]: Reading(float(row["n"] or 0)) for row in some}

    return read


def _minutes(now: datetime) -> QuerySet:
    return DeviceMinute.objects.filter(start__gte=int(now.timestamp()) // 60 * 60 - 60 * (MINUTES - 1))


def _failed_commands(now: datetime) -> QuerySet:
    return Command.objects.filter(state__in=_COMMANDS_BAD, changed_at__gt=now - timedelta(hours=1))


def _share(part: str, whole: str) -> Combinable:
    """In percent; unknown where there is nothing to divide by."""
    return ExpressionWrapper(100.0 * F(part) / NullIf(F(whole), 0), FloatField())


_storage = NullIf(Cast(KT("hardware__storage_bytes"), FloatField()), 0.0)
_DEVICES: dict[str, Reader] = {
    "offline": _heard(_state(lambda now: query(Liveness.OFFLINE, now), "last_seen")),
    "silent": _heard(_state(lambda now: query(Liveness.SILENT, now), "sample_at")),
    "failing": _state(lambda now: newest_deployment(*DEPLOYMENT_BAD)),
    "rolled_back": _state(lambda now: newest_deployment(State.ROLLED_BACK)),
    "restrained": _state(lambda now: ~Q(restraints=[])),
    "latency": _figure(F("latency_p95")),
    "temperature": _figure(F("temperature")),
    "memory": _figure(_share("memory_used", "memory_total")),
    "storage": _figure(ExpressionWrapper(100.0 - 100.0 * F("storage_free") / _storage, FloatField())),
    "cpu": _figure(F("cpu_percent")),
    "power": _figure(F("power")),
    "energy": _figure(F("energy_per_action")),
    "success": _figure(_share("successes", "episodes")),
    "clock": _clock,
    "errors": _counted(_minutes, Sum("errors")),
    "not_finite": _counted(_minutes, Sum("not_finite")),
    "queued": _counted(_minutes, Max("queued_max")),
    "commands": _counted(_failed_commands, Sum(Value(1))),
}

# --- The server -----------------------------------------------------------------------------------------------------


def _gateway(now: datetime) -> Reading:
    """Nothing is stopped where none was ever started."""
    row = Lease.objects.filter(name=NAME).first()
    if row is None or _leads(row, now):
        return Reading(0.0)
    return Reading(1.0, row.until)


def _waiting(rows: QuerySet, now: datetime) -> Reading:
    oldest = rows.order_by().aggregate(at=Min("created_at"))["at"]
    return Reading(max(0.0, (now - oldest).total_seconds()) if oldest else 0.0)


def _refused(now: datetime) -> Reading:
    rows = Rejected.objects.filter(at__gt=now - timedelta(minutes=MINUTES)).order_by()
    return Reading(float(rows.aggregate(n=Sum("count"))["n"] or 0))


_SERVER: dict[str, Callable[[datetime], Reading]] = {
    "gateway": _gateway,
    "outbox": lambda now: _waiting(Outbox.objects.all(), now),
    "jobs": lambda now: _waiting(Job.objects.filter(state="queued"), now),
    "refused": _refused,
}


def current(condition: str, device: Device | None, now: datetime) -> float | None:
    """What a device's row says of a figure at this moment; None where it does not, or where its sample is old."""
    reader = _CURRENT.get(condition)
    if device is None or reader is None or not fresh(device.sample_at, device.config.get("telemetry_interval"), now):
        return None
    return reader(device)


def _of(part: float | None, whole: float | None) -> float | None:
    return 100.0 * part / whole if part is not None and whole else None


def _storage_used(device: Device) -> float | None:
    whole = device.hardware.get("storage_bytes")
    return _of(whole - device.storage_free, whole) if whole and device.storage_free is not None else None


_CURRENT: dict[str, Callable[[Device], float | None]] = {
    "latency": lambda device: device.latency_p95,
    "temperature": lambda device: device.temperature,
    "memory": lambda device: _of(device.memory_used, device.memory_total),
    "storage": _storage_used,
    "cpu": lambda device: device.cpu_percent,
    "power": lambda device: device.power,
    "energy": lambda device: device.energy_per_action,
    "success": lambda device: _of(device.successes, device.episodes),
}


def met_now(rule: Rule, now: datetime) -> Iterator[str]:
    """The devices that meet the condition of a rule that need not be stored, whatever its tolerance."""
    for subject, reading in readings(rule, now).items():
        if reading.value is not None and rule.policy.bad(reading.value):
            yield subject
