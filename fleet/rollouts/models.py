"""Rollouts, their phases and deployments, and commands to single devices. Every transition is a stored row."""

import secrets
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from agent.wire import states
from fleet.rollouts.pace import Window
from fleet.rollouts.plan import PhasePlan, Terms
from fleet.rollouts.policy import ON_ERROR, Action, Limits


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
    #: A device has this long from when it is told, and from the opening of its phase until it can be told.
    deadline_seconds = models.PositiveIntegerField(default=7 * 24 * 3600)
    #: A person has ordered devices that ran a newer version to go back.
    back = models.BooleanField(default=False)
    #: The rollout whose devices this one brings back to what each ran before it.
    undoes = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="undone_by")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    # What it holds to (fleet.rollouts.plan.Terms)
    most_in_flight = models.PositiveIntegerField(default=0, help_text="0: no limit")
    per_minute = models.FloatField(default=0, help_text="0: no limit")
    window_start = models.TimeField(null=True, blank=True)
    window_end = models.TimeField(null=True, blank=True)
    window_days = models.PositiveSmallIntegerField(default=0, help_text="bit 0 is Monday; 0: every day")
    zone_name = models.CharField(max_length=64, default="UTC", help_text="for devices without a time zone")
    only_idle = models.BooleanField(default=False)
    starts_at = models.DateTimeField(null=True, blank=True)
    continuous = models.BooleanField(default=False, help_text="takes in devices that join the group later")
    needs_approval = models.BooleanField(default=False)
    approved_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    approved_at = models.DateTimeField(null=True, blank=True)

    # Where it stands
    #: The number of the phase that was opened last.
    phase = models.PositiveSmallIntegerField(default=0)
    #: Up to when the pace has been used (fleet.rollouts.pace.turns).
    paced_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = (models.CheckConstraint(condition=Q(state__in=_values(states.Rollout)), name="rollout_state"),)

    def __str__(self):
        return rollout_name(self.pk) if self.pk else "new rollout"

    @property
    def window(self) -> Window | None:
        if self.window_start is None or self.window_end is None:
            return None
        return Window(
            self.window_start, self.window_end, frozenset(day for day in range(7) if self.window_days >> day & 1)
        )

    @property
    def terms(self) -> Terms:
        return Terms(
            most_in_flight=self.most_in_flight,
            per_minute=self.per_minute,
            window=self.window,
            zone_name=self.zone_name,
            only_idle=self.only_idle,
            starts_at=self.starts_at,
            continuous=self.continuous,
            needs_approval=self.needs_approval,
        )

    @staticmethod
    def columns(terms: Terms) -> dict[str, object]:
        """`terms` as values of this model's fields."""
        window = terms.window
        return {
            "most_in_flight": terms.most_in_flight,
            "per_minute": terms.per_minute,
            "window_start": window.start if window else None,
            "window_end": window.end if window else None,
            "window_days": sum(1 << day for day in window.days) if window else 0,
            "zone_name": terms.zone_name,
            "only_idle": terms.only_idle,
            "starts_at": terms.starts_at,
            "continuous": terms.continuous,
            "needs_approval": terms.needs_approval,
        }


class Phase(models.Model):
    """One step of a rollout: how far it goes, what it is held to, and how far it has come."""

    rollout = models.ForeignKey(Rollout, models.CASCADE, related_name="phases")
    number = models.PositiveSmallIntegerField()
    percent = models.FloatField(null=True, blank=True)
    count = models.PositiveIntegerField(null=True, blank=True)

    # fleet.rollouts.policy.Limits
    success = models.FloatField(default=1.0)
    failures = models.FloatField(null=True, blank=True, default=0.1)
    on_error = models.CharField(max_length=16, choices=_choices(ON_ERROR), default=Action.PAUSE)
    soak_seconds = models.PositiveIntegerField(default=0)
    latency_rise = models.FloatField(null=True, blank=True)
    error_rise = models.FloatField(null=True, blank=True)
    success_loss = models.FloatField(null=True, blank=True)
    energy_rise = models.FloatField(null=True, blank=True)

    opened_at = models.DateTimeField(null=True, blank=True)
    #: When enough of its devices had taken the variant: the soak time begins.
    settled_at = models.DateTimeField(null=True, blank=True)
    passed_at = models.DateTimeField(null=True, blank=True)
    #: Failures that a person accepted by resuming, and whether they accepted worse figures too.
    forgiven = models.PositiveIntegerField(default=0)
    figures_accepted = models.BooleanField(default=False)
    #: What was measured before and after on its devices (fleet.rollouts.measured), and when somebody last looked.
    figures = models.JSONField(default=dict)
    looked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("number",)
        constraints = (
            models.UniqueConstraint(fields=["rollout", "number"], name="one_phase_of_a_number"),
            models.CheckConstraint(condition=Q(count=None) ^ Q(percent=None), name="phase_count_or_percent"),
            models.CheckConstraint(condition=Q(on_error__in=_values(ON_ERROR)), name="phase_on_error"),
        )

    def __str__(self):
        return f"phase {self.number + 1} of {self.rollout}"

    @property
    def limits(self) -> Limits:
        return Limits(
            success=self.success,
            failures=self.failures,
            on_error=Action(self.on_error),
            soak=timedelta(seconds=self.soak_seconds),
            latency_rise=self.latency_rise,
            error_rise=self.error_rise,
            success_loss=self.success_loss,
            energy_rise=self.energy_rise,
        )

    @property
    def plan(self) -> PhasePlan:
        return PhasePlan(self.percent, self.count, self.limits)

    @classmethod
    def of(cls, rollout: Rollout, number: int, plan: PhasePlan) -> "Phase":
        limits = plan.limits
        return cls(
            rollout=rollout,
            number=number,
            percent=plan.percent,
            count=plan.count,
            success=limits.success,
            failures=limits.failures,
            on_error=limits.on_error,
            soak_seconds=int(limits.soak.total_seconds()),
            latency_rise=limits.latency_rise,
            error_rise=limits.error_rise,
            success_loss=limits.success_loss,
            energy_rise=limits.energy_rise,
        )


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
    #: The number of its phase. A device that is skipped counts in none.
    phase = models.PositiveSmallIntegerField(default=0)
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
    told_at = models.DateTimeField(null=True, blank=True)
    #: None while its phase is not open.
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
        indexes = (
            models.Index(fields=["rollout", "state", "phase"], name="deployment_counts"),
            models.Index(
                fields=["deadline"], condition=Q(state__in=sorted(states.DEPLOYMENT_OPEN)), name="deployment_deadline"
            ),
            # Both for whether a device's newest deployment is in some state (fleet.search.conditions). A partial second
            # one, of those that ended badly, would be as quick and small, but SQLite would not see that it serves.
            models.Index(
                fields=["device", "created_at"], condition=~Q(state=states.Deployment.SKIPPED), name="deployment_newest"
            ),
            models.Index(fields=["state", "device", "created_at"], name="deployment_states"),
        )

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
