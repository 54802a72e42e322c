"""Rollouts and their deployments."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Count
from django.shortcuts import get_object_or_404
from django.utils import timezone
from ninja import Query, Router, Status
from ninja.pagination import paginate

from agent.wire.states import DEPLOYMENT_OPEN
from agent.wire.states import Deployment as DeploymentState
from agent.wire.states import Rollout as RolloutState
from fleet.accounts.roles import Role
from fleet.api.auth import allow
from fleet.api.lists import Paged
from fleet.api.rollout_schemas import (
    DeploymentOut,
    EstimateOut,
    PreviewOut,
    ProgressOut,
    RolloutIn,
    RolloutOut,
)
from fleet.api.schemas import Problem
from fleet.catalog.models import Release
from fleet.devices.liveness import link_up
from fleet.devices.models import Device, Group
from fleet.errors import Refused
from fleet.rollouts import judging, services, steering, summaries, waiting
from fleet.rollouts.estimate import estimate
from fleet.rollouts.models import RAN_ALREADY, Deployment, Phase, Rollout
from fleet.rollouts.pace import DAYS
from fleet.rollouts.plan import AT_ONCE, checked
from fleet.rollouts.preview import PreviewRow, preview

router = Router(tags=["rollouts"])
WRONG = {409: Problem}


@dataclass(slots=True)
class _Counts:
    """Deployments of one rollout, by state and for each phase; already are those of the skipped that ran it before."""

    phases: dict[int, dict[str, int]] = field(default_factory=dict)
    offline: Counter[int] = field(default_factory=Counter)
    already: int = 0

    @property
    def by_state(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for counts in self.phases.values():
            total.update(counts)
        return dict(total)


def _counts(rollout_ids: list[int], now: datetime) -> dict[int, _Counts]:
    """One query for all of them."""
    found = {pk: _Counts() for pk in rollout_ids}
    rows = Deployment.objects.filter(rollout__in=rollout_ids).order_by().values_list("rollout", "phase", "state")
    for pk, phase, state, number, already, there in rows.annotate(
        Count("pk"),
        already=Count("pk", filter=RAN_ALREADY),
        there=Count("pk", filter=link_up(now, "device__")),
    ):
        counts = found[pk]
        counts.phases.setdefault(phase, {})[state] = number
        counts.already += already
        if state in DEPLOYMENT_OPEN:
            counts.offline[phase] += number - there
    return found


def _percent(share: float | None) -> float | None:
    return None if share is None else round(share * 100, 6)


def _phase_out(phase: Phase, rollout: Rollout, counts: _Counts) -> dict:
    waits = phase.opened_at is None
    fields = ("percent", "on_error", "soak_seconds", "opened_at", "settled_at", "passed_at", "figures")
    return {
        **{name: getattr(phase, name) for name in fields},
        "number": phase.number + 1,
        "devices": phase.count,
        "state": "waiting" if waits else "passed" if phase.passed_at else "open",
        "counts": counts.phases.get(phase.number, {}),
        "offline": counts.offline[phase.number],
        "success_percent": _percent(phase.success),
        "failures_percent": _percent(phase.failures),
        "latency_rise_percent": _percent(phase.latency_rise),
        "error_rise_points": _percent(phase.error_rise),
        "success_loss_points": _percent(phase.success_loss),
        "energy_rise_percent": _percent(phase.energy_rise),
    }


_SAME = (
    *("id", "target", "state", "reason", "most_in_flight", "only_idle", "continuous", "needs_approval"),
    *("deadline_seconds", "created_at", "starts_at", "started_at", "finished_at"),
)


def _out(rollout: Rollout, counts: _Counts) -> dict:
    window = rollout.window
    return {
        **{name: getattr(rollout, name) for name in _SAME},
        "name": str(rollout),
        "release": rollout.release_id,
        "counts": counts.by_state,
        "already": counts.already,
        "phase": rollout.phase + 1,
        "phases": [_phase_out(phase, rollout, counts) for phase in rollout.phases.all()],
        "devices_per_minute": rollout.per_minute,
        "window": {"start": window.start, "end": window.end, "days": [DAYS[day] for day in sorted(window.days)]}
        if window
        else None,
        "time_zone": rollout.zone_name,
        "approved_by": rollout.approved_by.username if rollout.approved_by else None,
        "created_by": rollout.created_by.username if rollout.created_by else None,
        "undoes": rollout.undoes_id,
    }


def _rollouts():
    return Rollout.objects.select_related("created_by", "approved_by").prefetch_related("phases")


class _Counted(Paged):
    """Counts and phases for all rollouts of a page: two queries."""

    def paginate_queryset(self, queryset, pagination, **params):
        page = super().paginate_queryset(queryset, pagination, **params)
        rows = list(page["items"])
        counts = _counts([row.pk for row in rows], timezone.now())
        page["items"] = [_out(row, counts[row.pk]) for row in rows]
        return page


class _Waiting(Paged):
    def paginate_queryset(self, queryset, pagination, **params):
        page = super().paginate_queryset(queryset, pagination, **params)
        now = timezone.now()
        page["items"] = [_deployment_out(row, now) for row in page["items"]]
        return page


def _deployment_out(row: Deployment, now: datetime) -> dict:
    fields = ("id", "state", "step", "progress", "reason", "changed_at", "evidence", "deadline")
    wait = waiting.wait(row, row.device, now)
    return {
        "device": row.device_id,
        "device_name": row.device.name,
        "phase": row.phase + 1,
        "waiting": wait.reason if wait else "",
        "next": wait.next if wait else "",
        "advice": wait.advice if wait else "",
        **{name: getattr(row, name) for name in fields},
    }


@router.get("/rollouts", response=list[RolloutOut])
@paginate(_Counted)
def rollouts(request, state: RolloutState | None = None):
    rows = _rollouts()
    return rows.filter(state=state) if state else rows


def _preview_out(row: PreviewRow) -> dict:
    return {
        "device": row.device.pk,
        "device_name": row.device.name,
        "verdict": row.verdict,
        "reason": row.reason,
        "variant": row.variant.pk if row.variant else None,
    }


class _Previewed(Paged):
    def paginate_queryset(self, queryset, pagination, **params):
        page = super().paginate_queryset(queryset, pagination, **params)
        page["items"] = [_preview_out(row) for row in page["items"]]
        return page


@router.get("/releases/{release_id}/preview", response={200: list[PreviewOut], **WRONG})
@paginate(_Previewed)
def previewed(
    request,
    release_id: int,
    group: str | None = None,
    device: list[str] | None = Query(None, max_length=500),  # noqa: B008  # how ninja is told that it is repeated
    verdict: judging.Verdict | None = None,
):
    """What a rollout would do with each device of a group, or with those named, and why. Nothing happens."""
    release = get_object_or_404(Release, pk=release_id)
    if (group is None) == (device is None):
        raise Refused("Name a group or devices, not both.")
    chosen = get_object_or_404(Group, name=group).members() if group else Device.objects.filter(pk__in=device)
    rows = preview(release, chosen).rows
    return [row for row in rows if row.verdict == verdict] if verdict else rows


def _wanted(body: RolloutIn) -> tuple[Release, Group | None, list[Device] | None]:
    release = get_object_or_404(Release.objects.select_related("version__model"), pk=body.release)
    group = get_object_or_404(Group, name=body.group) if body.group else None
    devices = list(Device.objects.filter(pk__in=body.devices)) if body.devices is not None else None
    return release, group, devices


@router.post("/rollouts/estimate", response={200: EstimateOut, **WRONG}, auth=allow(Role.OPERATOR))
def estimated(request, body: RolloutIn):
    """What such a rollout would move and how long it would take. Nothing happens."""
    release, group, devices = _wanted(body)
    if (group is None) == (devices is None):
        raise Refused("Name a group or devices, not both.")
    terms = body.terms()
    phases = checked(body.plans(), terms, body.deadline_seconds, timezone.now())
    chosen = group.members() if group else Device.objects.filter(pk__in=[device.pk for device in devices or []])
    found = estimate(preview(release, chosen), phases or AT_ONCE, terms)
    return {
        "bytes_once": found.once,
        "bytes_each": found.each,
        "seconds": found.seconds,
        "seconds_per_device": found.per_device,
        "known": found.known,
    }


@router.post("/rollouts", response={201: RolloutOut, **WRONG}, auth=allow(Role.OPERATOR))
def start(request, body: RolloutIn):
    """Make a rollout to a group, or to the devices named; it begins unless it waits for its time or an approval."""
    release, group, devices = _wanted(body)
    made = services.start(
        release,
        request.user,
        group,
        devices,
        body.deadline_seconds,
        body.back,
        phases=body.plans(),
        terms=body.terms(),
    )
    return Status(201, _one(made.pk))


def _one(rollout_id: int) -> dict:
    rollout = get_object_or_404(_rollouts(), pk=rollout_id)
    return _out(rollout, _counts([rollout.pk], timezone.now())[rollout.pk])


def _found(rollout_id: int) -> Rollout:
    return get_object_or_404(Rollout.objects.select_related("release__version__model", "created_by"), pk=rollout_id)


@router.get("/rollouts/{rollout_id}", response=RolloutOut)
def rollout(request, rollout_id: int):
    return _one(rollout_id)


@router.get("/rollouts/{rollout_id}/progress", response=ProgressOut)
def progress(request, rollout_id: int):
    """How fast it goes, why devices failed, and what the others wait for."""
    found = _found(rollout_id)
    now = timezone.now()
    counted = steering.counted(found, now)
    phases = list(found.phases.all())
    reachable = sum(phase.of(DEPLOYMENT_OPEN) - phase.offline for phase in counted.values())
    speed = summaries.speed(found, now, reachable, summaries.soak_to_come(phases, now))
    return {
        "decision": steering.said(found, phases, counted, now),
        "per_minute": speed.per_minute,
        "seconds_left": speed.seconds_left,
        "failures": summaries.failures(found, 100),
        "waits": summaries.waits(found, now, 100),
    }


@router.get("/rollouts/{rollout_id}/deployments", response=list[DeploymentOut])
@paginate(_Waiting)
def deployments(request, rollout_id: int, state: DeploymentState | None = None, phase: int | None = None):
    """Each device with its state, and of each wait the reason, what comes next and what to do. Phases are from 1."""
    rows = waiting.with_ahead(get_object_or_404(Rollout, pk=rollout_id).deployments.select_related("device", "rollout"))
    if phase is not None:
        rows = rows.filter(phase=phase - 1)
    return rows.filter(state=state) if state else rows


def _steering(name: str, words: str):
    """An order that changes a rollout and answers with it."""

    def order(request, rollout_id: int):
        getattr(services, name)(_found(rollout_id), request.user)
        return _one(rollout_id)

    order.__name__, order.__doc__ = name, words
    return order


for _path, _name, _words in (
    ("pause", "pause", "Tell no further device; those that were told go on."),
    ("resume", "resume", "Go on. What failed so far has been seen and counts no more."),
    ("cancel", "cancel", "End it; what has not been installed yet is taken back."),
    ("approve", "approve", "The second person says yes: it begins, or waits for its time."),
    ("start", "begin", "Begin now what waits for its time."),
    ("next", "open_next", "Open the next phase without waiting for this one."),
):
    router.post(f"/rollouts/{{rollout_id}}/{_path}", response={200: RolloutOut, **WRONG}, auth=allow(Role.OPERATOR))(
        _steering(_name, _words)
    )


@router.post("/rollouts/{rollout_id}/retry", response={201: RolloutOut, **WRONG}, auth=allow(Role.OPERATOR))
def retry(request, rollout_id: int):
    """A new rollout to the devices on which this one ended badly."""
    return Status(201, _one(services.retry_failed(_found(rollout_id), request.user).pk))


@router.post("/rollouts/{rollout_id}/roll-back", response={201: RolloutOut, **WRONG}, auth=allow(Role.OPERATOR))
def roll_back(request, rollout_id: int):
    """A new rollout that brings each device back to what it ran before this one."""
    return Status(201, _one(services.roll_back(_found(rollout_id), request.user).pk))
