"""Ten devices that answer, and a plan with a canary."""

from datetime import timedelta

from django.utils import timezone

from agent.wire.states import Deployment as State
from fleet.devices.models import Device, Group
from fleet.rollouts import tasks
from fleet.rollouts.models import Rollout
from fleet.rollouts.plan import PhasePlan
from fleet.rollouts.policy import Limits
from tests.conftest import make_device
from tests.fleet.rollouts.test_rollout import says

#: One device, then the rest; too many failures pause.
CANARY = (PhasePlan(count=1, limits=Limits(failures=0.2)), PhasePlan(percent=100, limits=Limits(failures=0.5)))


def ten_devices() -> Group:
    """Ten devices that are there, and still will be when a slow machine has come to the end of a test."""
    group = Group.objects.create(name="berlin")
    now = timezone.now() + timedelta(hours=1)
    group.devices.set([make_device(online=True, last_seen=now, sample_at=now) for _ in range(10)])
    return group


def counts(rollout) -> dict[str, int]:
    found: dict[str, int] = {}
    for state in rollout.deployments.values_list("state", flat=True):
        found[state] = found.get(state, 0) + 1
    return found


def ends(rollout, state="active", phase=None, count=None, **more) -> None:
    """Devices that were told report the end; an active one runs the variant from then on."""
    rows = rollout.deployments.filter(state=State.NOTIFIED).select_related("device", "variant").order_by("pk")
    for row in list(rows if phase is None else rows.filter(phase=phase))[:count]:
        assert says(row.device, row, state, 9, **more) == []
        if state == "active":
            Device.objects.filter(pk=row.device_id).update(active_manifest=row.variant.manifest_digest)


def look(rollout) -> Rollout:
    tasks.tick()
    rollout.refresh_from_db()
    return rollout
