"""Rollouts and their deployments."""

from dataclasses import dataclass, field

from django.db.models import Count
from django.shortcuts import get_object_or_404
from django.utils import timezone
from ninja import Query, Router, Status
from ninja.pagination import paginate

from agent.wire.states import Deployment as DeploymentState
from agent.wire.states import Rollout as RolloutState
from fleet.accounts.roles import Role
from fleet.api.auth import allow
from fleet.api.lists import Paged
from fleet.api.schemas import DeploymentOut, PreviewOut, Problem, RolloutIn, RolloutOut
from fleet.catalog.models import Release
from fleet.devices.models import Device, Group
from fleet.errors import Refused
from fleet.rollouts import policy, services, waiting
from fleet.rollouts.models import RAN_ALREADY, Deployment, Rollout
from fleet.rollouts.preview import PreviewRow, preview

router = Router(tags=["rollouts"])
WRONG = {409: Problem}


@dataclass(slots=True)
class _Counts:
    """Deployments of one rollout; already are those of the skipped that ran the variant before it."""

    by_state: dict[str, int] = field(default_factory=dict)
    already: int = 0


def _out(rollout: Rollout, counts: _Counts) -> dict:
    fields = ("id", "target", "state", "reason", "created_at", "finished_at")
    values = {name: getattr(rollout, name) for name in fields}
    counted = {"counts": counts.by_state, "already": counts.already}
    return {"name": str(rollout), "release": rollout.release_id, **counted, **values}


def _counts(rollout_ids: list[int]) -> dict[int, _Counts]:
    counts = {pk: _Counts() for pk in rollout_ids}
    rows = Deployment.objects.filter(rollout__in=rollout_ids).order_by().values_list("rollout", "state")
    for pk, state, number, already in rows.annotate(Count("pk"), already=Count("pk", filter=RAN_ALREADY)):
        counts[pk].by_state[state] = number
        counts[pk].already += already
    return counts


class _Counted(Paged):
    """Counts by state for all rollouts of a page: one query."""

    def paginate_queryset(self, queryset, pagination, **params):
        page = super().paginate_queryset(queryset, pagination, **params)
        rows = list(page["items"])
        counts = _counts([row.pk for row in rows])
        page["items"] = [_out(row, counts[row.pk]) for row in rows]
        return page


class _Waiting(Paged):
    def paginate_queryset(self, queryset, pagination, **params):
        page = super().paginate_queryset(queryset, pagination, **params)
        now = timezone.now()
        page["items"] = [_deployment_out(row, now) for row in page["items"]]
        return page


def _deployment_out(row: Deployment, now) -> dict:
    fields = ("id", "state", "step", "progress", "reason", "changed_at", "evidence")
    return {
        "device": row.device_id,
        "device_name": row.device.name,
        "waiting": waiting.reason(row, row.device, now),
        **{name: getattr(row, name) for name in fields},
    }


@router.get("/rollouts", response=list[RolloutOut])
@paginate(_Counted)
def rollouts(request, state: RolloutState | None = None):
    rows = Rollout.objects.all()
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
    verdict: policy.Verdict | None = None,
):
    """What a rollout would do with each device of a group, or with those named, and why. Nothing happens."""
    release = get_object_or_404(Release, pk=release_id)
    if (group is None) == (device is None):
        raise Refused("Name a group or devices, not both.")
    chosen = get_object_or_404(Group, name=group).devices.all() if group else Device.objects.filter(pk__in=device)
    rows = preview(release, chosen).rows
    return [row for row in rows if row.verdict == verdict] if verdict else rows


@router.post("/rollouts", response={201: RolloutOut, **WRONG}, auth=allow(Role.OPERATOR))
def start(request, body: RolloutIn):
    """Begin a rollout to a group, or to the devices named."""
    release = get_object_or_404(Release.objects.select_related("version__model"), pk=body.release)
    group = get_object_or_404(Group, name=body.group) if body.group else None
    devices = list(Device.objects.filter(pk__in=body.devices)) if body.devices is not None else None
    made = services.start(release, request.user, group, devices, body.deadline_seconds, body.back)
    return Status(201, _one(made.pk))


def _one(rollout_id: int) -> dict:
    rollout = get_object_or_404(Rollout, pk=rollout_id)
    return _out(rollout, _counts([rollout.pk])[rollout.pk])


@router.get("/rollouts/{rollout_id}", response=RolloutOut)
def rollout(request, rollout_id: int):
    return _one(rollout_id)


@router.get("/rollouts/{rollout_id}/deployments", response=list[DeploymentOut])
@paginate(_Waiting)
def deployments(request, rollout_id: int, state: DeploymentState | None = None):
    """Each device with its state, and the reason of each wait."""
    rows = waiting.with_ahead(get_object_or_404(Rollout, pk=rollout_id).deployments.select_related("device", "rollout"))
    return rows.filter(state=state) if state else rows


@router.post("/rollouts/{rollout_id}/pause", response={200: RolloutOut, **WRONG}, auth=allow(Role.OPERATOR))
def pause(request, rollout_id: int):
    services.pause(get_object_or_404(Rollout, pk=rollout_id), request.user)
    return _one(rollout_id)


@router.post("/rollouts/{rollout_id}/resume", response={200: RolloutOut, **WRONG}, auth=allow(Role.OPERATOR))
def resume(request, rollout_id: int):
    services.resume(get_object_or_404(Rollout, pk=rollout_id), request.user)
    return _one(rollout_id)


@router.post("/rollouts/{rollout_id}/cancel", response={200: RolloutOut, **WRONG}, auth=allow(Role.OPERATOR))
def cancel(request, rollout_id: int):
    services.cancel(get_object_or_404(Rollout, pk=rollout_id), request.user)
    return _one(rollout_id)


@router.post("/rollouts/{rollout_id}/retry", response={201: RolloutOut, **WRONG}, auth=allow(Role.OPERATOR))
def retry(request, rollout_id: int):
    """A new rollout to the devices on which this one ended badly."""
    return Status(201, _one(services.retry_failed(get_object_or_404(Rollout, pk=rollout_id), request.user).pk))
