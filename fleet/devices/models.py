"""Devices, the tokens they enroll with, and groups of them."""

import secrets

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from agent.wire.hardware import DeviceClass
from agent.wire.states import Admission


def _choices(values):
    return [(value.value, value.value.replace("_", " ")) for value in values]


def new_device_id() -> str:
    return "d-" + secrets.token_hex(6)


def new_token_id() -> str:
    return secrets.token_hex(6)


class EnrollmentToken(models.Model):
    """Lets devices introduce themselves; its text (`id.secret`) is shown once and kept by nobody here."""

    id = models.CharField(primary_key=True, max_length=32, default=new_token_id, editable=False)
    name = models.CharField(max_length=128)
    salt = models.BinaryField()
    digest = models.BinaryField()
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    uses = models.PositiveIntegerField(default=0)
    max_uses = models.PositiveIntegerField(default=1)
    #: Accept devices at once; otherwise a person has to.
    auto_accept = models.BooleanField(default=False)
    #: Where the devices go that enroll with it.
    group = models.ForeignKey("Group", models.SET_NULL, null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    #: The broker reads what changed since it last looked.
    credential_changed_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self):
        return self.name

    def refusal(self, now) -> str:
        """Why nobody can enroll with it now; empty when one can."""
        if self.revoked_at:
            return "the enrollment token was revoked"
        if self.expires_at and self.expires_at <= now:
            return "the enrollment token has expired"
        if self.uses >= self.max_uses:
            return f"the enrollment token was used {self.uses} times, its limit is {self.max_uses}"
        return ""


class Device(models.Model):
    """One device: who it is, what it reported last, what it should run. Liveness is computed, never stored."""

    id = models.CharField(primary_key=True, max_length=64, default=new_device_id, editable=False)
    name = models.CharField(max_length=128, db_index=True)
    admission = models.CharField(max_length=16, choices=_choices(Admission), default=Admission.PENDING)
    simulated = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)
    retired_at = models.DateTimeField(null=True, blank=True)

    # Credential
    nonce = models.CharField(max_length=64, unique=True)
    salt = models.BinaryField()
    digest = models.BinaryField()
    token = models.ForeignKey(EnrollmentToken, models.SET_NULL, null=True, blank=True)
    credential_changed_at = models.DateTimeField(default=timezone.now, db_index=True)

    # Reported
    hardware = models.JSONField(default=dict)
    device_class = models.CharField(max_length=16, choices=_choices(DeviceClass), db_index=True)
    agent_version = models.CharField(max_length=64, blank=True)
    boot_id = models.CharField(max_length=64, blank=True)
    state_seq = models.BigIntegerField(default=0)
    online = models.BooleanField(default=False, help_text="what its last state message or last will said")
    last_seen = models.DateTimeField(null=True, blank=True, db_index=True)
    mode = models.CharField(max_length=16, default="full")
    idle = models.BooleanField(default=True)
    active_manifest = models.CharField(max_length=64, blank=True, db_index=True)
    active_since = models.DateTimeField(null=True, blank=True)
    reported_config_version = models.PositiveBigIntegerField(default=0)

    # Desired
    desired_version = models.PositiveBigIntegerField(default=0)
    desired_manifest = models.CharField(max_length=64, blank=True)
    desired_deployment = models.CharField(max_length=64, blank=True)
    config = models.JSONField(default=dict)
    config_version = models.PositiveBigIntegerField(default=0)

    # Latest sample, as columns: a page of devices is one query
    sample_at = models.DateTimeField(null=True, blank=True)
    cpu_percent = models.FloatField(null=True, blank=True)
    memory_used = models.BigIntegerField(null=True, blank=True)
    memory_total = models.BigIntegerField(null=True, blank=True)
    storage_free = models.BigIntegerField(null=True, blank=True)
    temperature = models.FloatField(null=True, blank=True)
    power = models.FloatField(null=True, blank=True)
    power_source = models.CharField(max_length=16, blank=True)
    latency_p50 = models.FloatField(null=True, blank=True)
    latency_p95 = models.FloatField(null=True, blank=True)
    # Counted since the active variant took over
    decisions = models.BigIntegerField(default=0)
    episodes = models.BigIntegerField(default=0)
    successes = models.BigIntegerField(default=0)
    cache_lookups = models.BigIntegerField(default=0)
    cache_hits = models.BigIntegerField(default=0)
    errors = models.BigIntegerField(default=0)

    class Meta:
        ordering = ("name", "id")
        indexes = (models.Index(fields=["admission", "retired_at", "name", "id"], name="device_list"),)
        constraints = (
            models.CheckConstraint(condition=Q(admission__in=[a.value for a in Admission]), name="device_admission"),
        )

    def __str__(self):
        return self.name


class Group(models.Model):
    """Devices that are treated alike. Rollouts go to groups."""

    name = models.SlugField(max_length=64, unique=True)
    description = models.CharField(max_length=256, blank=True)
    devices = models.ManyToManyField(Device, related_name="groups", blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("name",)

    def __str__(self):
        return self.name
