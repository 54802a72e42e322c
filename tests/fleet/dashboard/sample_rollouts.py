"""Rollouts with their phases and deployments: one that has ended, one under way."""

import random
from datetime import datetime, timedelta

from django.contrib.auth.models import User

from agent.wire.states import Admission
from agent.wire.states import Deployment as State
from agent.wire.states import Rollout as RolloutState
from fleet.catalog.models import Release, Variant
from fleet.devices.models import Device, Group
from fleet.rollouts.models import Deployment, Phase, Rollout
from fleet.rollouts.plan import PRESETS


def rollout(
    release: Release,
    group: Group,
    state: RolloutState,
    operator: User,
    started: datetime,
    pick: random.Random,
    now: datetime,
) -> Rollout:
    variants = {variant.device_class: variant for variant in release.variants.all()}
    made = Rollout.objects.create(
        release=release,
        group=group,
        target=group.name,
        state=state,
        created_by=operator,
        created_at=started,
        started_at=started,
        finished_at=started + timedelta(minutes=9) if state == RolloutState.FINISHED else None,
        reason="every deployment has ended" if state == RolloutState.FINISHED else "",
    )
    members = list(group.devices.filter(admission=Admission.ACCEPTED))
    phases = _phases(made)
    rows = [
        _deployment(made, device, variants[device.device_class], number, pick, now)
        for number, device in enumerate(members)
    ]
    for number, row in enumerate(rows):
        row.phase = next(phase.number for phase in phases if number < phase.plan.reach(len(members)))
    Deployment.objects.bulk_create(rows, batch_size=200)
    if state == RolloutState.RUNNING:
        new = [row.device for row in rows if row.state == State.ACTIVE]
        for device in new:
            device.active_manifest = device.desired_manifest = variants[device.device_class].manifest_digest
        Device.objects.bulk_update(new, ["active_manifest", "desired_manifest"], batch_size=200)
    return made


def _phases(rollout: Rollout) -> list[Phase]:
    """A canary and a tenth, both passed, then all."""
    phases = [Phase.of(rollout, number, plan) for number, plan in enumerate(PRESETS["canary"][1])]
    for phase in phases:
        phase.opened_at = rollout.started_at + timedelta(seconds=60 * phase.number)
        if phase.number < 2 or rollout.finished_at:
            phase.settled_at = phase.passed_at = phase.opened_at + timedelta(seconds=60)
    figures = {"decisions": 1500, "episodes": 40, "success": 0.95, "energy": None}
    phases[0].figures = {
        "before": {**figures, "latency_p95": 41.2, "error_rate": 0.0},
        "after": {**figures, "latency_p95": 38.7, "error_rate": 0.0007},
        "devices": 1,
    }
    Rollout.objects.filter(pk=rollout.pk).update(phase=2)
    return Phase.objects.bulk_create(phases)


def _deployment(
    rollout: Rollout, device: Device, variant: Variant, number: int, pick: random.Random, now: datetime
) -> Deployment:
    state, step, progress, reason = State.ACTIVE, "", 1.0, ""
    if rollout.state == RolloutState.RUNNING:
        place = number % 20
        if not device.online:
            state, progress = State.NOTIFIED, 0.0
        elif place in (11, 12):
            state, step, progress = State.DOWNLOADING, "1.2 of 2.0 MB", pick.uniform(0.2, 0.9)
        elif place == 13:
            state, step, progress = State.SELF_TESTING, "golden observation 5 of 8", 0.6
        elif place == 14:
            state, step, progress = State.WATCHING, "38 s of 60 s", 0.63
        elif place in (15, 16):
            state, progress = State.QUEUED, 0.0
        elif number % 97 == 17:
            state, reason = State.ROLLED_BACK, "p95 118 ms in the first minute, the limit is 100 ms"
        elif number % 113 == 18:
            state, reason = State.REJECTED, "needs 2.1 MB of storage, 1.4 MB are free"
    ended = state in (State.ACTIVE, State.ROLLED_BACK, State.REJECTED)
    moved = rollout.started_at + timedelta(seconds=10 + number)
    return Deployment(
        id=f"p-{rollout.pk}-{number}",
        rollout=rollout,
        device=device,
        variant=variant,
        state=state,
        step=step,
        progress=progress,
        reason=reason,
        created_at=rollout.started_at,
        changed_at=min(moved, now),
        finished_at=min(moved, now) if ended else None,
        deadline=rollout.started_at + timedelta(days=7),
    )
