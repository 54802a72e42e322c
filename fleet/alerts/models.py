"""Rules that are watched, what they found, who is told of it, and who is left in peace."""

import secrets
import uuid
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from fleet.alerts.policy import Policy, Severity, Stage


def _choices(values):
    return [(value.value, value.value) for value in values]


def new_secret() -> str:
    return "whsec_" + secrets.token_urlsafe(32)


class Rule(models.Model):
    """A search that says which devices, and a condition (fleet.alerts.conditions) that none of them should meet.

    Thresholds are in the unit of the condition's measure; a condition without one has none.
    """

    name = models.CharField(max_length=64, unique=True)
    #: Which devices; empty for all in service. Nothing for conditions of the server.
    query = models.CharField(max_length=500, blank=True)
    condition = models.CharField(max_length=32)
    comparison = models.CharField(max_length=1, choices=[(">", "above"), ("<", "below")], default=">")
    threshold = models.FloatField(null=True, blank=True)
    #: The value that has to be reached to recover; None: the threshold itself.
    clear = models.FloatField(null=True, blank=True)
    for_seconds = models.FloatField(default=0)
    clear_seconds = models.FloatField(default=0)
    severity = models.CharField(max_length=16, choices=_choices(Severity), default=Severity.WARNING)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    #: Why its search cannot be read any more; empty while it can.
    problem = models.CharField(max_length=500, blank=True)
    opened_told_at = models.DateTimeField(null=True, blank=True)
    ended_told_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("name",)

    def __str__(self):
        return self.name

    @property
    def policy(self) -> Policy:
        """A state is met (1) or not (0)."""
        return Policy(
            above=self.comparison != "<" or self.threshold is None,
            threshold=0.5 if self.threshold is None else self.threshold,
            clear=self.clear,
            tolerance=timedelta(seconds=self.for_seconds),
            recovery=timedelta(seconds=self.clear_seconds),
        )


#: While it is one of these, there is one row for a rule and a subject.
ACTIVE = (Stage.PENDING.value, Stage.OPEN.value)


class Alert(models.Model):
    """One rule on one device (or on the server: no device), from the moment its condition was met on.

    A pending one is nothing yet: it opens when the rule's tolerance is over, or it goes again.
    """

    rule = models.ForeignKey(Rule, models.SET_NULL, null=True, blank=True, related_name="alerts")
    #: As the rule had them when this began: a rule may be changed or deleted.
    name = models.CharField(max_length=64)
    condition = models.CharField(max_length=32)
    severity = models.CharField(max_length=16, choices=_choices(Severity))
    #: The device's id; empty for the server.
    subject = models.CharField(max_length=64, blank=True)
    device = models.ForeignKey("devices.Device", models.CASCADE, null=True, blank=True, related_name="alerts")
    stage = models.CharField(max_length=16, choices=_choices(Stage), default=Stage.PENDING)
    #: Since when the condition is met.
    since = models.DateTimeField()
    #: The reading that it began with.
    value = models.FloatField(null=True, blank=True)
    opened_at = models.DateTimeField(null=True, blank=True)
    #: Openings of this rule on this subject within the last hour, this one included.
    opens = models.PositiveIntegerField(default=0)
    #: Since when the condition for recovery is met.
    calm_since = models.DateTimeField(null=True, blank=True)
    recovered_at = models.DateTimeField(null=True, blank=True)
    #: Why it ended, where the device did not recover: the rule was changed, say.
    reason = models.CharField(max_length=200, blank=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    note = models.CharField(max_length=500, blank=True)
    #: Whether a silence covers it, as the last look found.
    silenced = models.BooleanField(default=False)
    #: The notification that told of its opening, and the one of its end.
    opening_told = models.UUIDField(null=True, blank=True)
    ending_told = models.UUIDField(null=True, blank=True)

    class Meta:
        ordering = ("-opened_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=["rule", "subject"], condition=Q(stage__in=ACTIVE), name="one_active_alert_of_a_rule"
            ),
            models.CheckConstraint(condition=Q(stage__in=[stage.value for stage in Stage]), name="alert_stage"),
        )
        indexes = (
            models.Index(fields=["stage", "opened_at"], name="alert_list"),
            models.Index(fields=["rule", "opened_at"], name="alert_openings"),
            models.Index(fields=["rule"], condition=Q(stage="open", opening_told=None), name="alert_untold"),
            models.Index(
                fields=["rule"],
                condition=Q(stage="recovered", ending_told=None, opening_told__isnull=False),
                name="alert_end_untold",
            ),
        )

    def __str__(self):
        return f"{self.name} on {self.subject or 'the server'}"


#: What somebody should look at: open, nobody has taken it, and no silence covers it.
WAITING = Q(stage=Stage.OPEN, acknowledged_at=None, silenced=False)


class Silence(models.Model):
    """Nobody is told of what it covers (a rule, devices that a search finds, or both) until it ends."""

    rule = models.ForeignKey(Rule, models.CASCADE, null=True, blank=True, related_name="silences")
    query = models.CharField(max_length=500, blank=True)
    reason = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="silences"
    )
    #: When it ends by itself, or has been ended.
    ends_at = models.DateTimeField(db_index=True)
    ended_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        ordering = ("-ends_at",)

    def __str__(self):
        if self.rule and self.query:
            return f"“{self.rule.name}” on “{self.query}”"
        return (self.rule.name if self.rule else self.query) or "everything"


class Channel(models.Model):
    """A way out of here: an address that is told what opened and what recovered."""

    KINDS = (("email", "e-mail"), ("webhook", "webhook"))

    name = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=16, choices=KINDS)
    #: E-mail: addresses with commas between them. Webhook: a URL.
    target = models.CharField(max_length=1000)
    #: Webhook: what its bodies are signed with.
    secret = models.CharField(max_length=128, default=new_secret)
    #: Nothing below this is told.
    severity = models.CharField(max_length=16, choices=_choices(Severity), default=Severity.WARNING)
    recoveries = models.BooleanField(default=True)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    #: Why the last attempt failed; empty when it did not.
    error = models.CharField(max_length=500, blank=True)
    error_at = models.DateTimeField(null=True, blank=True)
    #: A worker delivers through it until then: one at a time.
    busy_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("name",)

    def __str__(self):
        return self.name


class Delivery(models.Model):
    """The outbox: one notification through one channel, written in the transaction that decided it."""

    QUEUED, SENT, FAILED = "queued", "sent", "failed"
    STATES = ((QUEUED, "queued"), (SENT, "sent"), (FAILED, "failed"))

    channel = models.ForeignKey(Channel, models.CASCADE, related_name="deliveries")
    #: The same in every attempt and in every channel: a receiver drops what it has had.
    notification = models.UUIDField(default=uuid.uuid4)
    body = models.JSONField()
    state = models.CharField(max_length=16, choices=STATES, default=QUEUED)
    created_at = models.DateTimeField(default=timezone.now)
    attempts = models.PositiveIntegerField(default=0)
    #: Not before; while somebody sends it, when it is taken from them.
    next_at = models.DateTimeField(default=timezone.now)
    sent_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index(fields=["channel", "next_at"], condition=Q(state="queued"), name="delivery_due"),)
        constraints = (models.UniqueConstraint(fields=["channel", "notification"], name="told_once_by_a_channel"),)

    def __str__(self):
        return f"{self.notification} by {self.channel_id}"


class Look(models.Model):
    """When a worker last looked at the rules, and how long that took: one row, so that pages know whether any does."""

    at = models.DateTimeField()
    seconds = models.FloatField()

    def __str__(self):
        return f"{self.at:%Y-%m-%d %H:%M:%S}"
