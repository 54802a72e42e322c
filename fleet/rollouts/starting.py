"""A rollout is made, begins, and takes in who joins later. Each call is part of its caller's transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from django.db.models import Q

from agent.wire.states import DEPLOYMENT_IN_FLIGHT, DEPLOYMENT_STOPPABLE
from agent.wire.states import Deployment as State
from agent.wire.states import Rollout as RolloutState
from fleet.audit.services import record
from fleet.catalog.models import Variant
from fleet.devices.liveness import Liveness, liveness
from fleet.rollouts import telling
from fleet.rollouts.models import Deployment, Phase, Rollout
from fleet.rollouts.plan import PhasePlan, assign
from fleet.rollouts.preview import PreviewRow, members, newer, preview
from fleet.rollouts.transitions import move
from fleet.trust import services as trust

#: Before these have begun, nothing of them stands in another rollout's way.
NOT_BEGUN = (RolloutState.DRAFT, RolloutState.SCHEDULED)


def make(rollout: Rollout, phases: Sequence[PhasePlan], rows: Iterable[PreviewRow], now: datetime) -> None:
    """Store a new rollout with its phases and one deployment for each device."""
    rollout.save(force_insert=True)
    made = [Phase.of(rollout, number, plan) for number, plan in enumerate(phases)]
    if rollout.state == RolloutState.RUNNING:
        made[0].opened_at = now
    Phase.objects.bulk_create(made)
    judged = list(rows)
    there = (
        (row.device.pk, row.device.device_class, _is_there(row.device, now))
        for row in judged
        if row.verdict == "update"
    )
    _deploy(rollout, judged, assign(phases, there), now)


def _is_there(device, now: datetime) -> bool:
    return liveness(device.online, device.last_seen, device.sample_at, now) in (Liveness.ONLINE, Liveness.SILENT)


def _deploy(rollout: Rollout, rows: list[PreviewRow], numbers: dict[str, int], now: datetime) -> None:
    opens = rollout.state == RolloutState.RUNNING
    first = sum(1 for number in numbers.values() if number == rollout.phase)
    deadline = telling.deadline(rollout, now, first)
    Deployment.objects.bulk_create(
        Deployment(
            rollout=rollout,
            device=row.device,
            variant=row.variant,
            phase=numbers.get(row.device.pk, 0),
            previous_manifest=row.device.active_manifest,
            state=State.QUEUED if row.verdict == "update" else State.SKIPPED,
            reason="" if row.verdict == "update" else row.reason,
            created_at=now,
            changed_at=now,
            deadline=deadline if opens and numbers.get(row.device.pk) == rollout.phase else None,
            finished_at=None if row.verdict == "update" else now,
        )
        for row in rows
    )


def begin(rollout: Rollout, by, now: datetime) -> None:
    """Take over from older rollouts, open the first phase and tell its first devices. The rollout is running."""
    variants = list(Variant.objects.filter(deployments__rollout=rollout).distinct().select_related("version"))
    if rollout.back:
        _order_back(rollout, variants, by, now)
    telling.cast(variants)
    superseded = _supersede(rollout)
    if rollout.phases.filter(number=0, opened_at=None).update(opened_at=now):  # it was made earlier
        telling.open_deadlines(rollout, now, Q(phase=0))
    telling.tell(rollout, now)
    telling.take_back_told(superseded)


def _order_back(rollout: Rollout, variants: list[Variant], by, now: datetime) -> None:
    """Sign that its devices may go back from the newer versions that they run."""
    devices = rollout.deployments.filter(state=State.QUEUED).values("device__active_manifest")
    over = max(
        (
            number
            for version in {variant.version_id: variant.version for variant in variants}.values()
            for number in newer(version, devices).values()
        ),
        default=0,
    )
    if over:
        trust.order_back(variants, over, now + timedelta(seconds=rollout.deadline_seconds), by)


def _supersede(rollout: Rollout) -> list[Deployment]:
    """A newer rollout takes over where the device can still turn; elsewhere the new deployment queues behind.

    Returns those that their devices were told of.
    """
    mine = rollout.deployments.filter(state=State.QUEUED)
    turning = (
        Deployment.objects.filter(device__in=mine.values("device"), state__in=sorted(DEPLOYMENT_STOPPABLE))
        .exclude(rollout=rollout)
        .exclude(rollout__state__in=NOT_BEGUN)
    )
    told = [row for row in turning if row.state in DEPLOYMENT_IN_FLIGHT]
    rows = [*told, *(row for row in turning if row.state == State.QUEUED)]
    move(rows, State.SUPERSEDED, f"{rollout} took over")
    if rollout.group_id:
        older = Rollout.objects.filter(group=rollout.group_id, continuous=True).exclude(pk=rollout.pk)
        older.exclude(state__in=NOT_BEGUN).filter(release__version__model=rollout.release.version.model_id).update(
            continuous=False
        )
    return told


def open_phase(rollout: Rollout, number: int, now: datetime) -> None:
    """Its devices may be told from now on."""
    rollout.phase = number
    Rollout.objects.filter(pk=rollout.pk).update(phase=number)
    Phase.objects.filter(rollout=rollout, number=number, opened_at=None).update(opened_at=now)
    telling.open_deadlines(rollout, now, Q(phase=number))


def take_in(rollout: Rollout, now: datetime) -> int:
    """Devices that joined the group of a continuous rollout since go in its last phase. Returns how many."""
    if rollout.group is None:
        return 0
    joined = members(rollout.group.members()).exclude(pk__in=rollout.deployments.values("device"))
    if not joined.exists():
        return 0
    rows = [row if rollout.back else _not_back(row) for row in preview(rollout.release, joined).rows]
    last = Phase.objects.filter(rollout=rollout).count() - 1
    _deploy(rollout, rows, dict.fromkeys((row.device.pk for row in rows), last), now)
    if rows:
        record("rollout.joined", f"{rollout}: {len(rows)} devices joined {rollout.group.name}", rollout=rollout)
    return len(rows)


def _not_back(row: PreviewRow) -> PreviewRow:
    if not row.over:
        return row
    return replace(row, verdict="blocked", reason=f"It runs version {row.over}, which is newer.")
