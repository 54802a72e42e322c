"""Rollouts, their deployments, and commands to single devices. Every transition is a stored row."""

import secrets

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from agent.wire import states


def _values(enum):
    return [state.value for state in enum]


def _choices(enum):
    return [(state.value, state.value.replace("_", " ")) for state in enum]


def new_deployment_id() -> str:
    return "p-" + secrets.token_hex(8)


def new_command_id() -> str:
    return "c-" + secrets.token_hex(8)


def rollout_name(pk: int) -> str:
    """What people call a rollout, for those who know its number alone."""
    return f"r-{pk:04d}"


class Rollout(models.Model):
    """A release on its way to a group (or to the devices that were named)."""

    release = models.ForeignKey("catalog.Release", models.PROTECT, related_name="rollouts")
    group = models.ForeignKey("devices.Group", models.SET_NULL, null=True, blank=True, related_name="rollouts")
    #: What it goes to, in words; stays true when the group is gone.
    target = models.CharField(max_length=128)
    state = models.CharField(max_length=16, choices=_choices(states.Rollout), default=states.Rollout.DRAFT)
    reason = models.CharField(max_length=1000, blank=True)
    #: Each deployment has to end within this many seconds.
    deadline_seconds = models.PositiveIntegerField(default=7 * 24 * 3600)
    #: A person has ordered devices that ran a newer version to go back.
    back = models.BooleanField(default=False)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = (models.CheckConstraint(condition=Q(state__in=_values(states.Rollout)), name="rollout_state"),)

    def __str__(self):
        return rollout_name(self.pk) if self.pk else "new rollout"


#: A skipped deployment either ran the variant when the rollout began, or it was left out.
RAN_ALREADY = Q(state=states.Deployment.SKIPPED, previous_manifest=F("variant__manifest_digest"))
#: It ended badly on a device that is still in service: another rollout may try again.
RETRYABLE = Q(
    state__in=sorted(states.DEPLOYMENT_BAD), device__admission=states.Admission.ACCEPTED, device__retired_at=None
)


class Deployment(models.Model):
    """One rollout on one device."""

    id = models.CharField(primary_key=True, max_length=64, default=new_deployment_id, editable=False)
    rollout = models.ForeignKey(Rollout, models.CASCADE, related_name="deployments")
    device = models.ForeignKey("devices.Device", models.CASCADE, related_name="deployments")
    variant = models.ForeignKey("catalog.Variant", models.PROTECT, null=True, blank=True, related_name="deployments")
    #: What the device ran when this began (a manifest digest): what cancel and roll-back go back to.
    previous_manifest = models.CharField(max_length=64, blank=True)
    state = models.CharField(max_length=16, choices=_choices(states.Deployment), default=states.Deployment.QUEUED)
    boot_id = models.CharField(max_length=64, blank=True)
    seq = models.BigIntegerField(default=-1)
    step = models.CharField(max_length=200, blank=True)
    progress = models.FloatField(default=0)
    reason = models.CharField(max_length=1000, blank=True)
    evidence = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(default=timezone.now)
    deadline = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    #: The rollout that has this one's device, and its state there, where fleet.rollouts.waiting.with_ahead looked.
    ahead_rollout: int | None = None
    ahead_state: str = ""

    class Meta:
        ordering = ("device__name", "id")
        constraints = (
            models.UniqueConstraint(fields=["rollout", "device"], name="one_deployment_per_device"),
            models.UniqueConstraint(
                fields=["device"],
                condition=Q(state__in=sorted(states.DEPLOYMENT_IN_FLIGHT)),
                name="one_deployment_in_flight",
            ),
            models.CheckConstraint(condition=Q(state__in=_values(states.Deployment)), name="deployment_state"),
        )
        indexes = (models.Index(fields=["rollout", "state"], name="deployment_counts"),)

    def __str__(self):
        return f"{self.rollout} on {self.device_id}"


class Transition(models.Model):
    """A deployment changed its state."""

    deployment = models.ForeignKey(Deployment, models.CASCADE, related_name="transitions")
    at = models.DateTimeField(default=timezone.now)
    old = models.CharField(max_length=16)
    new = models.CharField(max_length=16)
    reason = models.CharField(max_length=1000, blank=True)

    class Meta:
        ordering = ("id",)

    def __str__(self):
        return f"{self.old} → {self.new}"


class Command(models.Model):
    """One order to one device, acknowledged."""

    id = models.CharField(primary_key=True, max_length=64, default=new_command_id, editable=False)
    device = models.ForeignKey("devices.Device", models.CASCADE, related_name="commands")
    job = models.ForeignKey("jobs.Job", models.SET_NULL, null=True, blank=True, related_name="commands")
    kind = models.CharField(max_length=32)
    args = models.JSONField(default=dict)
    state = models.CharField(max_length=16, choices=_choices(states.Command), default=states.Command.QUEUED)
    progress = models.FloatField(default=0)
    reason = models.CharField(max_length=1000, blank=True)
    result = models.JSONField(default=dict)
    deadline = models.DateTimeField()
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-created_at",)
        constraints = (models.CheckConstraint(condition=Q(state__in=_values(states.Command)), name="command_state"),)

    def __str__(self):
        return f"{self.kind} on {self.device_id}"
