"""Start, cancel and repeat long work."""

from dataclasses import asdict
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from agent.wire.hardware import DeviceClass
from fleet.audit.services import record
from fleet.errors import Refused
from fleet.jobs import queue
from fleet.jobs.models import Job

GOALS = ("balanced", "realtime", "accuracy")


def _dispatch(job: Job) -> None:
    """Wake a worker once the row is there to be claimed."""
    from fleet.jobs.tasks import wake

    transaction.on_commit(lambda: wake(job.pk, job.kind))


@transaction.atomic
def start_optimization(
    version,
    device_class,
    by,
    goal="balanced",
    budget="quick",
    compression=None,
    bits=None,
    pruning=None,
    max_success_loss=None,
    max_latency_ms=None,
    max_bytes=None,
    max_memory_bytes=None,
    weights=None,
    parts=None,
) -> Job:
    """Queue the making of a variant for one class. Settings that are None follow the class and the goal.

    weights: of the objective, by name (latency, size, shortage); those that are missing or None are 1, 1 and 10.
    parts: bits and pruning by the name of a part in the policy card.
    """
    from fleet.optimizer.contract import BUDGETS, constraints
    from fleet.optimizer.errors import RecipeError
    from fleet.optimizer.objective import DEFAULT
    from fleet.optimizer.recipe import recipe_for

    if device_class not in list(DeviceClass):
        raise Refused(f"There is no device class {device_class}.")
    if goal not in GOALS:
        raise Refused(f"The goal is one of {', '.join(GOALS)}, not {goal}.")
    if budget not in BUDGETS:
        raise Refused(f"The budget is one of {', '.join(BUDGETS)}, not {budget}.")
    weighed = {name: value for name, value in (weights or {}).items() if value is not None}
    if weighed:
        weighed = {**asdict(DEFAULT), **weighed}
        if not all(0 <= value <= 1000 for value in weighed.values()) or not weighed["latency"] + weighed["size"]:
            raise Refused("A weight is 0 to 1,000, and latency and size cannot both weigh nothing.")
    apart = {name: {k: v for k, v in each.items() if v is not None} for name, each in (parts or {}).items()}
    given = {
        "compression": compression,
        "bits": bits,
        "pruning": pruning,
        "parts": {name: each for name, each in apart.items() if each} or None,
    }
    limits = {"max_latency_ms": max_latency_ms, "max_bytes": max_bytes, "max_memory_bytes": max_memory_bytes}
    try:
        constraints(max_loss_points=max_success_loss, **limits)
        recipe_for(DeviceClass(device_class), goal, **given, known=version.card.get("parts", {}))
    except RecipeError as problem:
        raise Refused(f"{str(problem)[:1].upper()}{str(problem)[1:]}.") from problem
    words = device_class.replace("_", " ")
    if version.jobs.filter(kind="optimize", device_class=device_class, state__in=Job.OPEN).exists():
        raise Refused(f"{version} is already being optimized for {words}; wait for that job or cancel it.")
    params = {
        "goal": goal,
        "budget": budget,
        "max_success_loss": max_success_loss,
        **limits,
        "weights": weighed or None,
    } | {k: v for k, v in given.items() if v is not None}
    job = Job.objects.create(
        kind="optimize", version=version, device_class=device_class, params=params, created_by=by, step="In the queue"
    )
    record("job.queued", f"{queue.title(job)} was queued", actor=by, **queue.subjects(job))
    queue.tell(job)
    _dispatch(job)
    return job


@transaction.atomic
def start_reoptimization(device, by, *, lighter=False) -> Job:
    """Queue a measurement of candidates on the device itself; the best is deployed there.

    lighter: the device asks for a smaller variant; the one that is lighter on what it is short of is the best.
    """
    from fleet.catalog.models import Variant
    from fleet.jobs.lighter import WORDS, lightest, short_of

    if device.jobs.filter(kind="reoptimize", state__in=Job.OPEN).exists():
        raise Refused(f"{device.name} is already being re-optimized; wait for that job or cancel it.")
    if device.retired_at or device.admission != "accepted":
        raise Refused(f"{device.name} is not in service.")
    active = Variant.objects.filter(manifest_digest=device.active_manifest).select_related("version").first()
    if active is None:
        raise Refused(f"{device.name} runs no variant yet; roll a release out to it first.")
    budget = short_of(device) if lighter else ""
    if lighter and not budget:
        raise Refused(f"{device.name} does not ask for a smaller variant any more.")
    if budget and lightest(active.version, device, budget) is None:
        words = device.device_class.replace("_", " ")
        raise Refused(
            f"{active.version} has no variant for {words} devices that takes less {WORDS[budget]} than the one that "
            f"{device.name} runs. Optimize it for that class with a higher compression first."
        )
    job = Job.objects.create(
        kind="reoptimize",
        version=active.version,
        device=device,
        device_class=device.device_class,
        params={"short_of": budget} if budget else {},
        created_by=by,
        step="In the queue",
    )
    record("job.queued", f"{queue.title(job)} was queued", actor=by, **queue.subjects(job))
    queue.tell(job)
    _dispatch(job)
    return job


@transaction.atomic
def cancel(job: Job, by) -> None:
    """End a job: at once when it is still queued, within seconds when a worker has it."""
    now = timezone.now()
    if Job.objects.filter(pk=job.pk, state="queued").update(
        state="canceled", finished_at=now, reason=f"canceled by {by.username} before it began"
    ):
        record("job.canceled", f"{queue.title(job)} canceled", level="warn", actor=by, **queue.subjects(job))
    elif Job.objects.filter(pk=job.pk, state="running").update(cancel_requested=True, step="Stopping"):
        queue.log(job, f"{by.username} asked for it to stop.", "warn")
    else:
        raise Refused("This job has already ended.")
    queue.tell(job)


@transaction.atomic
def retry(job: Job, by) -> Job:
    """A new job with the settings of one that ended badly."""
    if job.state in Job.OPEN or job.state == "succeeded":
        raise Refused("Only a failed or canceled job can be repeated.")
    if job.kind == "reoptimize":
        return start_reoptimization(job.device, by, lighter="short_of" in job.params)
    return start_optimization(job.version, job.device_class, by, **job.params)


def requeue_lost() -> int:
    """Give jobs whose worker died to another, end those that killed too many, and wake the forgotten. Idempotent."""
    now = timezone.now()
    moved = 0
    for job in queue.lost(now).select_related("version__model", "device")[:100]:
        held = Job.objects.filter(pk=job.pk, state="running", claim=job.claim, heartbeat_at=job.heartbeat_at)
        if job.cancel_requested or job.attempts >= queue.MAX_ATTEMPTS:
            state = "canceled" if job.cancel_requested else "failed"
            reason = f"its worker died, for the {job.attempts}. time: not tried again"
            moved += held.update(state=state, reason=reason, finished_at=now)
        else:
            moved += held.update(state="queued", claim="", step="In the queue again: its worker died")
            queue.log(job, "The worker died; the job was queued again.", "warn")
            _dispatch(job)
        queue.tell(job)
    for job in queue.asleep(now).only("pk", "kind")[:100]:
        if (
            Job.objects.filter(pk=job.pk, state="queued")
            .exclude(heartbeat_at__gt=now - timedelta(seconds=15))
            .update(heartbeat_at=now)
        ):
            _dispatch(job)
    return moved
