"""Views that people keep."""

from django.conf import settings
from django.db import models
from django.utils import timezone


class SavedView(models.Model):
    """A page as one person saw it, under a name: its address with search, order, range. Shared ones are everybody's."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="views")
    name = models.CharField(max_length=64)
    address = models.CharField(max_length=1000)
    shared = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("name", "id")
        constraints = (models.UniqueConstraint(fields=["owner", "name"], name="one_view_of_a_name"),)

    def __str__(self):
        return self.name
