"""The next devices are told: their desired state is written, in the transaction that decided it.

Who is told: queued deployments of the phases that are open, whose device is in service, has no other deployment under
way and still has room. A rollout with a pace, a window or `only while idle` tells a device only while it is there.
"""

import random
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery

from agent.wire import topics
from agent.wire.states import DEPLOYMENT_IN_FLIGHT, Admission
from agent.wire.states import Deployment as State
from fleet.catalog.models import Variant
from fleet.devices.liveness import link_up
from fleet.devices.models import Device
from fleet.gateway import outbox
from fleet.rollouts import pace
from fleet.rollouts.models import Deployment, Rollout
from fleet.rollouts.preview import ROOM_FIELDS, too_small
from fleet.rollouts.transitions import move
from fleet.trust import services as trust


def tell(rollout: Rollout, now: datetime, in_flight: int = 0) -> int:
    """Tell as many as the pace allows; in_flight of the rollout's devices that are there are under way.

    The caller holds the rollout's row. Returns how many were told: their number makes no statement more.
    """
    room = _room(rollout, now, in_flight)
    if room == 0:
        return 0
    waiting = _tellable(rollout, now).order_by("phase", "pk")
    ready = _still_right(list(waiting if room is None else waiting[:room]))
    told = move(
        ready,
        State.NOTIFIED,
        now=now,
        told_at=now,
        deadline=now + timedelta(seconds=rollout.deadline_seconds),
        previous_manifest=Subquery(Device.objects.filter(pk=OuterRef("device")).values("active_manifest")[:1]),
    )
    mine = Deployment.objects.filter(rollout=rollout, device=OuterRef("pk")).order_by()
    outbox.write_desired(
        [deployment.device_id for deployment in told],
        desired_deployment=Subquery(mine.values("pk")[:1]),
        desired_manifest=Subquery(mine.values("variant__manifest_digest")[:1]),
    )
    return len(told)


def _room(rollout: Rollout, now: datetime, in_flight: int) -> int | None:
    """How many may be told now; None is no limit. Their turns of the pace are used."""
    room = max(0, rollout.most_in_flight - in_flight) if rollout.most_in_flight else None
    if not rollout.per_minute or room == 0:
        return room
    number, since = pace.turns(rollout.per_minute, rollout.paced_at, now, random.random())  # noqa: S311  # no secret
    if since != rollout.paced_at:
        rollout.paced_at = since
        Rollout.objects.filter(pk=rollout.pk).update(paced_at=since)
    return number if room is None else min(room, number)


def _tellable(rollout: Rollout, now: datetime) -> QuerySet[Deployment]:
    busy = Deployment.objects.filter(device=OuterRef("device"), state__in=sorted(DEPLOYMENT_IN_FLIGHT))
    rows = Deployment.objects.filter(
        ~Exists(busy),
        rollout=rollout,
        state=State.QUEUED,
        phase__lte=rollout.phase,
        device__admission=Admission.ACCEPTED,
        device__retired_at=None,
    )
    terms = rollout.terms
    if terms.gated:
        rows = rows.filter(link_up(now, "device__"))
    if terms.only_idle:
        rows = rows.filter(device__idle=True)
    if terms.window:
        zones = set(rows.order_by().values_list("device__time_zone", flat=True).distinct())
        rows = rows.filter(
            device__time_zone__in=[name for name in zones if terms.window.is_open(now, name or terms.zone_name)]
        )
    return rows.select_related("device").only(
        "state", "rollout", "variant", "device__pinned", *(f"device__{name}" for name in ROOM_FIELDS)
    )


def _still_right(waiting: list[Deployment]) -> list[Deployment]:
    """Those whose device is not pinned and has room for the variant; the others are skipped with the reason."""
    variants = Variant.objects.in_bulk({deployment.variant_id for deployment in waiting})
    ready: list[Deployment] = []
    reasons: dict[str, list[Deployment]] = {}
    for deployment in waiting:
        if reason := _wrong(deployment, variants[deployment.variant_id]):
            reasons.setdefault(reason, []).append(deployment)
        else:
            ready.append(deployment)
    for reason, skipped in reasons.items():
        move(skipped, State.SKIPPED, reason)
    return ready


def _wrong(deployment: Deployment, variant: Variant) -> str:
    if deployment.device.pinned:
        return f"It is pinned: {deployment.device.pinned}"
    return too_small(deployment.device, variant)


def cast(variants: Iterable[Variant]) -> None:
    """Let devices know of these variants, and install them: once for a rollout, before anybody is told."""
    from fleet.catalog.services import manifest_bytes

    chosen = list(variants)
    trust.vouch(chosen)
    outbox.put(
        outbox.message(topics.manifest(variant.manifest_digest), manifest_bytes(variant), retain=True)
        for variant in chosen
    )


def take_back(devices: Iterable[str]) -> None:
    """Make what these devices run now their desired state again."""
    kept = Device.objects.filter(pk__in=list(devices), retired_at=None)
    outbox.write_desired(
        list(kept.values_list("pk", flat=True)), desired_manifest=F("active_manifest"), desired_deployment=""
    )


def take_back_told(deployments: Iterable[Deployment]) -> None:
    """The same for those of `deployments`' devices that were last told of that very deployment."""
    ids = [deployment.pk for deployment in deployments]
    if ids:
        take_back(Device.objects.filter(desired_deployment__in=ids).values_list("pk", flat=True))


def deadline(rollout: Rollout, now: datetime, devices: int) -> datetime:
    """Until when devices that now may be told have to have ended: telling that many takes its time."""
    return now + timedelta(seconds=rollout.deadline_seconds) + pace.longest(devices, rollout.per_minute)


def open_deadlines(rollout: Rollout, now: datetime, phases: Q) -> None:
    """Queued devices of these phases may be told from now on."""
    rows = Deployment.objects.filter(phases, rollout=rollout, state=State.QUEUED)
    rows.update(deadline=deadline(rollout, now, rows.count() if rollout.per_minute else 0))
