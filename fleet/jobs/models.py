"""Long work. The row is a job's truth: a queue message only wakes a worker, and may be lost or come twice."""

from django.conf import settings
from django.db import models
from django.utils import timezone


class Job(models.Model):
    """One piece of long work; claimed by one worker at a time, which keeps its heartbeat fresh."""

    KINDS = (("optimize", "optimize"), ("reoptimize", "re-optimize"))
    STATES = (
        ("queued", "queued"),
        ("running", "running"),
        ("succeeded", "succeeded"),
        ("failed", "failed"),
        ("canceled", "canceled"),
    )
    OPEN = ("queued", "running")

    kind = models.CharField(max_length=16, choices=KINDS)
    state = models.CharField(max_length=16, choices=STATES, default="queued", db_index=True)
    version = models.ForeignKey("catalog.ModelVersion", models.CASCADE, null=True, blank=True, related_name="jobs")
    device = models.ForeignKey("devices.Device", models.CASCADE, null=True, blank=True, related_name="jobs")
    device_class = models.CharField(max_length=16, blank=True)
    params = models.JSONField(default=dict)
    step = models.CharField(max_length=256, blank=True)
    progress = models.FloatField(default=0)
    reason = models.CharField(max_length=1000, blank=True)
    result = models.JSONField(default=dict)
    cancel_requested = models.BooleanField(default=False)
    #: Who runs it: set by the claim, compared by every later write of that worker.
    claim = models.CharField(max_length=64, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)

    class Meta:
        ordering = ("-id",)

    def __str__(self):
        return f"job {self.pk} ({self.kind})"


class JobLine(models.Model):
    """One line of a job's log."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="lines")
    at = models.DateTimeField(default=timezone.now)
    level = models.CharField(max_length=8, default="info")
    text = models.CharField(max_length=2000)

    class Meta:
        ordering = ("id",)

    def __str__(self):
        return self.text
