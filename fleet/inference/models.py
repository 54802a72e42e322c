"""Who uses the server's inference, and how much."""

from django.db import models

#: Answers are counted by how fast they were: within so many milliseconds, each column holding those of the ones before.
WITHIN_MS = (10, 20, 50, 100, 200, 500, 1000)
#: Why a request was refused, in the words of the page.
REASONS = {
    "login": "the login is not valid",
    "mode": "the device is not set to hybrid",
    "quota": "over quota",
    "busy": "too many requests waited",
    "late": "not answered within its deadline",
    "model": "there is no model for it, or it does not load",
    "crash": "the model broke over it",
    "request": "the request is not one that the model takes",
}


class Usage(models.Model):
    """What one device asked of one web process within one hour.

    A process writes its own totals of the hour, over and over: nothing is added up in the database, and nothing counts
    twice. Latencies are milliseconds from the request's first byte to its answer, of the answered ones.
    """

    #: A device's id; empty for whoever did not log in.
    device = models.CharField(max_length=64, blank=True)
    hour = models.DateTimeField()
    process = models.CharField(max_length=32)
    requests = models.BigIntegerField(default=0)
    answered = models.BigIntegerField(default=0)
    bytes_in = models.BigIntegerField(default=0)
    bytes_out = models.BigIntegerField(default=0)
    milliseconds = models.FloatField(default=0)
    slowest = models.FloatField(default=0)
    within_10 = models.BigIntegerField(default=0)
    within_20 = models.BigIntegerField(default=0)
    within_50 = models.BigIntegerField(default=0)
    within_100 = models.BigIntegerField(default=0)
    within_200 = models.BigIntegerField(default=0)
    within_500 = models.BigIntegerField(default=0)
    within_1000 = models.BigIntegerField(default=0)
    refused_login = models.BigIntegerField(default=0)
    refused_mode = models.BigIntegerField(default=0)
    refused_quota = models.BigIntegerField(default=0)
    refused_busy = models.BigIntegerField(default=0)
    refused_late = models.BigIntegerField(default=0)
    refused_model = models.BigIntegerField(default=0)
    refused_crash = models.BigIntegerField(default=0)
    refused_request = models.BigIntegerField(default=0)
    last_at = models.DateTimeField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=["device", "hour", "process"], name="usage_once"),)
        indexes = (models.Index(fields=["hour"], name="usage_age"),)

    def __str__(self):
        return f"{self.device or 'a stranger'} {self.hour:%Y-%m-%d %H}:00"
