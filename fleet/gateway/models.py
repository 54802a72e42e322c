"""The outbox: what a transaction decided to say to devices, until the broker has taken it."""

from django.db import models
from django.utils import timezone


class Outbox(models.Model):
    """One MQTT message to be published; deleted when the broker acknowledged it."""

    topic = models.CharField(max_length=256)
    payload = models.BinaryField()
    retain = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("id",)

    def __str__(self):
        return self.topic


class TransferLimit(models.Model):
    """How many bytes of blocks a second the gateway publishes at most; one row, set by an operator."""

    bytes_per_second = models.PositiveBigIntegerField(default=0, help_text="0: no limit")

    def __str__(self):
        return f"{self.bytes_per_second} B/s"


class Rejected(models.Model):
    """A message that was not taken, with the reason. The newest are kept; it never stops the stream."""

    at = models.DateTimeField(default=timezone.now, db_index=True)
    topic = models.CharField(max_length=256)
    reason = models.CharField(max_length=512)
    excerpt = models.CharField(max_length=512, blank=True)
    #: How many of one batch were the same.
    count = models.PositiveIntegerField(default=1)

    class Meta:
        ordering = ("-id",)

    def __str__(self):
        return f"{self.topic}: {self.reason}"


class Lease(models.Model):
    """The right to be the gateway: the one row, and who has it until when, by the database's clock."""

    name = models.CharField(primary_key=True, max_length=32)
    holder = models.CharField(max_length=128, blank=True)
    since = models.DateTimeField(default=timezone.now)
    until = models.DateTimeField(default=timezone.now)
    figures = models.JSONField(default=dict, help_text="fleet.gateway.health, as the holder told last")

    def __str__(self):
        return f"{self.name}: {self.holder or 'nobody'}"
