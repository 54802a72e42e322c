"""What devices measured."""

from django.db import models


class Sample(models.Model):
    """One look at a device, under the device's own time. (device, boot, seq) makes a repeated one harmless."""

    device = models.ForeignKey("devices.Device", models.CASCADE, related_name="samples", db_constraint=False)
    at = models.DateTimeField()
    received_at = models.DateTimeField()
    boot_id = models.CharField(max_length=64)
    seq = models.BigIntegerField()
    cpu_percent = models.FloatField(null=True)
    memory_used = models.BigIntegerField(null=True)
    memory_total = models.BigIntegerField(null=True)
    disk_used = models.BigIntegerField(null=True)
    disk_total = models.BigIntegerField(null=True)
    network_rx = models.FloatField(null=True)
    network_tx = models.FloatField(null=True)
    temperature = models.FloatField(null=True)
    power = models.FloatField(null=True)
    power_source = models.CharField(max_length=16, blank=True)
    energy_per_action = models.FloatField(null=True)
    agent_memory = models.BigIntegerField(null=True)
    interval = models.FloatField(default=0)
    decisions = models.BigIntegerField(default=0)
    latency_p50 = models.FloatField(null=True)
    latency_p95 = models.FloatField(null=True)
    stage_queue = models.FloatField(null=True)
    stage_preprocess = models.FloatField(null=True)
    stage_compute = models.FloatField(null=True)
    stage_postprocess = models.FloatField(null=True)
    errors = models.BigIntegerField(default=0)
    not_finite = models.BigIntegerField(default=0)
    cache_lookups = models.BigIntegerField(default=0)
    cache_hits = models.BigIntegerField(default=0)
    episodes = models.BigIntegerField(default=0)
    successes = models.BigIntegerField(default=0)
    queued = models.BigIntegerField(default=0)
    manifest = models.CharField(max_length=64, blank=True)

    class Meta:
        indexes = (
            models.Index(fields=["device", "at"], name="sample_series"),
            models.Index(fields=["at"], name="sample_age"),
        )
        constraints = (models.UniqueConstraint(fields=["device", "boot_id", "seq"], name="sample_once"),)

    def __str__(self):
        return f"{self.device_id} {self.at:%Y-%m-%d %H:%M:%S}"
