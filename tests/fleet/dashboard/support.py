"""A fleet in the database: rows as the server itself would have written them, so that pages have something to show."""

import random
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db.models import F
from django.utils import timezone

from agent.wire.states import Rollout as RolloutState
from fleet.accounts.roles import Role
from fleet.accounts.services import create_person
from fleet.devices.models import Device
from fleet.search.models import SavedView
from tests.fleet.dashboard import (
    sample_alerts,
    sample_catalog,
    sample_devices,
    sample_figures,
    sample_history,
    sample_rollouts,
    sample_work,
)

#: How the pages' own scripts ask: a form that is wrong then comes back alone.
HTMX = {"HX-Request": "true"}

PASSWORD = "a password of 12 letters"


def people() -> dict[Role, User]:
    return {role: create_person(f"{role.label}-person", role, None, PASSWORD)[0] for role in Role}


class SampleFleet:
    """Fills an empty database; the same seed gives the same fleet. The first device has samples of the last hours; with
    history, classes and variants have roll-ups of a week."""

    def __init__(
        self, devices: int, hours: int = 1, seed: int = 7, now: datetime | None = None, *, history: bool = False
    ) -> None:
        self.count = devices
        self.hours = hours
        self.history = history
        self.random = random.Random(seed)  # noqa: S311  # sample data, no secrets
        self.now = now or timezone.now()

    def fill(self, operator: User) -> None:
        pick, now = self.random, self.now
        self.operator = operator
        self.versions = [sample_catalog.version(number, operator, now) for number in (1, 2)]
        self.releases = [sample_catalog.release(version, operator) for version in self.versions]
        self.devices = sample_devices.devices(self.count, self.releases[0], pick, now)
        self.groups = sample_devices.groups(self.devices)
        sample_devices.tokens(self.groups[0], operator, now)
        for number, group, state, age in (
            (0, self.groups[1], RolloutState.FINISHED, timedelta(days=3)),
            (1, self.groups[0], RolloutState.RUNNING, timedelta(minutes=40)),
        ):
            sample_rollouts.rollout(self.releases[number], group, state, operator, now - age, pick, now)
        sample_work.jobs(self.versions[1], operator, now)
        sample_work.commands(self.devices[0], operator, now)
        sample_work.events(self.devices[0], self.versions[1], operator, now)
        SavedView.objects.create(
            owner=operator, name="Slow ones", address="/devices?q=latency%3E100ms+online&sort=-p95", shared=True
        )
        sample_figures.usage(self.devices, now)
        sample_alerts.fill(self.devices, operator, now)
        if self.hours:
            sample_figures.samples(self.devices[0], self.hours, pick, now)
        if self.history:
            sample_history.remember(self.devices, self.releases, now)


def keep_alive() -> None:
    """Let the devices that are there go on being there: what their next state and samples would do."""
    now = timezone.now()
    there = Device.objects.filter(online=True)
    there.filter(sample_at__gte=F("last_seen") - timedelta(minutes=1)).update(last_seen=now, sample_at=now)
    there.filter(sample_at__lt=F("last_seen") - timedelta(minutes=1)).update(last_seen=now)
