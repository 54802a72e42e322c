"""Devices, the tokens they enroll with, and groups of them."""

import secrets

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from agent.wire import tags
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
    #: What they are tagged with, whatever they say themselves: name → value, empty for a bare name.
    tags = models.JSONField(default=dict, blank=True)
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
    #: As in Europe/Berlin, for maintenance windows; empty: the rollout's own.
    time_zone = models.CharField(max_length=64, blank=True)
    #: Why it stays at what it runs: rollouts leave it out. Empty: it does not.
    pinned = models.CharField(max_length=200, blank=True)

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
    last_seen = models.DateTimeField(null=True, blank=True)  # no index: it changes with every message
    mode = models.CharField(max_length=16, default="full")
    idle = models.BooleanField(default=True)
    #: What it does less of to stay within its budgets (agent.wire.messages.Restraint), the oldest first.
    restraints = models.JSONField(default=list, blank=True)
    active_manifest = models.CharField(max_length=64, blank=True, db_index=True)
    active_since = models.DateTimeField(null=True, blank=True)
    runtime = models.JSONField(default=dict, blank=True, help_text="what runs the model there, and how it was chosen")
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
    energy_per_action = models.FloatField(null=True, blank=True, help_text="joules of a decision, of that source")
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


class Tag(models.Model):
    """`site=berlin` on one device, or a bare `spare` whose value is empty (agent.wire.tags says what may be one)."""

    device = models.ForeignKey(Device, models.CASCADE, related_name="tags")
    key = models.CharField(max_length=32)
    value = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ("key",)
        constraints = (models.UniqueConstraint(fields=["device", "key"], name="one_value_per_key"),)
        indexes = (models.Index(fields=["key", "value", "device"], name="tag_search"),)

    def __str__(self):
        return tags.written(self.key, self.value)


class Group(models.Model):
    """Devices that are treated alike. Rollouts go to groups.

    A static group has the devices that people put into it; a dynamic one those that its query finds (fleet.search).
    """

    name = models.SlugField(max_length=64, unique=True)
    description = models.CharField(max_length=256, blank=True)
    #: Makes it a dynamic group; a static one has none.
    query = models.CharField(max_length=500, blank=True)
    devices = models.ManyToManyField(Device, related_name="groups", blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("name",)

    def __str__(self):
        return self.name

    @property
    def dynamic(self) -> bool:
        return bool(self.query)

    def members(self) -> models.QuerySet[Device]:
        """Who is in it now; of a dynamic group, whom its query finds at this moment. Nothing has run yet.

        Who joins later is found by asking again. Retired devices may be among a static group's.
        """
        from fleet.search.groups import members  # the search knows devices; only this call looks back

        return members(self)
