"""What the server vouches for, and the signed metadata that say so."""

from django.db import models
from django.utils import timezone


class Target(models.Model):
    """A manifest that devices may install: a line of the signed targets."""

    digest = models.CharField(primary_key=True, max_length=64)
    length = models.PositiveIntegerField()
    #: An operator's order to go back: devices that ran a version up to `over` may take this one, until `until`.
    over = models.PositiveIntegerField(default=0)
    until = models.DateTimeField(null=True, blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("at", "digest")

    def __str__(self):
        return self.digest[:12]


class Metadata(models.Model):
    """One signed file of The Update Framework. All roots are kept, of the others what a device may be reading now."""

    role = models.CharField(max_length=16)
    version = models.PositiveBigIntegerField()
    body = models.BinaryField()
    signed_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()

    class Meta:
        ordering = ("role", "version")
        constraints = (models.UniqueConstraint(fields=["role", "version"], name="one_metadata_version"),)

    def __str__(self):
        return f"{self.role} {self.version}"
