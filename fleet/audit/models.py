"""What happened, for people: who did what, and what the fleet did by itself."""

from django.conf import settings
from django.db import models
from django.utils import timezone


class Event(models.Model):
    LEVELS = (("info", "info"), ("ok", "ok"), ("warn", "warning"), ("bad", "bad"))

    at = models.DateTimeField(default=timezone.now, db_index=True)
    kind = models.CharField(max_length=48, help_text="noun.verb, as in rollout.started")
    level = models.CharField(max_length=8, choices=LEVELS, default="info")
    text = models.CharField(max_length=500)
    detail = models.CharField(max_length=1000, blank=True)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    device = models.ForeignKey("devices.Device", models.CASCADE, null=True, blank=True, related_name="events")
    rollout = models.ForeignKey("rollouts.Rollout", models.CASCADE, null=True, blank=True, related_name="events")
    version = models.ForeignKey("catalog.ModelVersion", models.CASCADE, null=True, blank=True, related_name="events")
    job = models.ForeignKey("jobs.Job", models.CASCADE, null=True, blank=True, related_name="events")

    class Meta:
        ordering = ("-id",)

    def __str__(self):
        return self.text


class Signal(models.Model):
    """Tells open pages that something they show has changed. One row for a batch; short-lived."""

    at = models.DateTimeField(default=timezone.now, db_index=True)
    topics = models.JSONField(help_text="as in fleet, device:d-1, rollout:3, job:7")

    class Meta:
        ordering = ("id",)

    def __str__(self):
        return ", ".join(self.topics)
