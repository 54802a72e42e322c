"""What waits, and why."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from fleet.devices.models import Device
from fleet.rollouts import services, waiting
from fleet.rollouts.pace import Window
from fleet.rollouts.plan import Terms
from tests.fleet.rollouts.ten import CANARY

pytestmark = pytest.mark.django_db


def waits(rollout) -> dict[str, int]:
    """The reasons of all who wait; each wait says what comes next and what to do."""
    found: dict[str, int] = {}
    now = timezone.now()
    for row in waiting.with_ahead(rollout.deployments.select_related("device", "rollout")):
        wait = waiting.wait(row, row.device, now)
        if wait is not None:
            assert all(text.endswith(".") for text in (wait.reason, wait.next, wait.advice))
            found[wait.reason] = found.get(wait.reason, 0) + 1
    return found


def test_every_wait_of_a_rollout_has_its_reason(release, group, operator):
    busy, away = group.devices.order_by("name")[:2]
    Device.objects.filter(pk=busy.pk).update(idle=False)
    Device.objects.filter(pk=away.pk).update(online=False)
    terms = Terms(most_in_flight=2, per_minute=5, only_idle=True)
    rollout = services.start(release, operator, group=group, terms=terms)
    found = waits(rollout)
    assert found.pop("Waiting for the device: last seen 0 s ago.") == 1
    assert found == {
        "Told the device; waiting for it to begin.": 1,
        "Waiting until the robot is idle.": 1,
        "Waiting for its turn: at most 2 at a time, 5 a minute.": 7,
    }
    services.pause(rollout, operator)
    assert waits(rollout)["Waiting: the rollout is paused."] == 9


def test_what_has_not_begun_says_what_it_waits_for(release, group, operator):
    rollout = services.start(release, operator, group=group, terms=Terms(needs_approval=True))
    assert waits(rollout) == {"Waiting for a second person's approval.": 10}
    at = datetime(2099, 1, 1, 22, tzinfo=UTC)
    rollout = services.start(release, operator, group=group, terms=Terms(starts_at=at))
    assert waits(rollout) == {"Waiting for its time: 2099-01-01 22:00 UTC.": 10}


def test_a_phase_and_a_window_are_waited_for(release, group, operator):
    rollout = services.start(release, operator, group=group, phases=CANARY)
    assert waits(rollout)["Waiting for phase 2."] == 9
    here = timezone.now()
    window = Window((here + timedelta(hours=2)).time(), (here + timedelta(hours=3)).time())
    rollout = services.start(release, operator, group=group, terms=Terms(window=window))
    assert waits(rollout) == {f"Waiting for its maintenance window, {window} in UTC.": 10}
