"""What devices measured: samples, and what of them is kept when they are gone."""

from django.db import models


class Sample(models.Model):
    """One look at a device, under the device's own time. (device, boot, seq) makes a repeated one harmless."""

    device = models.ForeignKey(
        "devices.Device", models.CASCADE, related_name="samples", db_constraint=False, db_index=False
    )
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
    stage_network = models.FloatField(null=True)
    over_preprocess = models.IntegerField(default=0)
    over_compute = models.IntegerField(default=0)
    over_total = models.IntegerField(default=0)
    over_bandwidth = models.IntegerField(default=0)
    over_power = models.IntegerField(default=0)
    refused = models.IntegerField(default=0)
    errors = models.BigIntegerField(default=0)
    not_finite = models.BigIntegerField(default=0)
    cache_lookups = models.BigIntegerField(default=0)
    cache_hits = models.BigIntegerField(default=0)
    episodes = models.BigIntegerField(default=0)
    successes = models.BigIntegerField(default=0)
    remote_asked = models.BigIntegerField(default=0)
    remote_answered = models.BigIntegerField(default=0)
    remote_bytes = models.BigIntegerField(default=0)
    queued = models.BigIntegerField(default=0)
    manifest = models.CharField(max_length=64, blank=True)
    #: A sketch, as roll-ups have it; for them it is kept.
    latency = models.BinaryField(null=True)

    class Meta:
        # Each index costs every sample a write: what is too old is found by the order in which rows came.
        indexes = (models.Index(fields=["device", "at"], name="sample_series"),)
        constraints = (models.UniqueConstraint(fields=["device", "boot_id", "seq"], name="sample_once"),)

    def __str__(self):
        return f"{self.device_id} {self.at:%Y-%m-%d %H:%M:%S}"


class Summed(models.Model):
    """How far samples are in roll-ups and devices: all with a number up to `sample`. One row."""

    sample = models.BigIntegerField(default=0)

    def __str__(self):
        return f"up to {self.sample}"


class Rollup(models.Model):
    """What the samples of some time say together, from its start (Unix seconds) on (fleet.telemetry.summing).

    Counters are sums. Of a figure, `_count` samples had it; their sum, least and greatest are kept, the mean is
    _sum / _count. Of figures of decisions (stages, energy) the sums are over decisions, as `_count` counts them.
    `latency` is a sketch (agent.wire.latency, in MessagePack; fleet.telemetry.sketches) or empty.
    """

    start = models.BigIntegerField()
    samples = models.BigIntegerField()
    interval = models.FloatField(help_text="seconds that the samples speak of")
    decisions = models.BigIntegerField()
    errors = models.BigIntegerField()
    not_finite = models.BigIntegerField()
    cache_lookups = models.BigIntegerField()
    cache_hits = models.BigIntegerField()
    episodes = models.BigIntegerField()
    successes = models.BigIntegerField()
    cpu_percent_count = models.BigIntegerField()
    cpu_percent_sum = models.FloatField()
    cpu_percent_min = models.FloatField(null=True)
    cpu_percent_max = models.FloatField(null=True)
    memory_used_count = models.BigIntegerField()
    memory_used_sum = models.FloatField()
    memory_used_min = models.FloatField(null=True)
    memory_used_max = models.FloatField(null=True)
    memory_total_max = models.BigIntegerField(null=True)
    disk_used_max = models.BigIntegerField(null=True)
    disk_total_max = models.BigIntegerField(null=True)
    temperature_count = models.BigIntegerField()
    temperature_sum = models.FloatField()
    temperature_min = models.FloatField(null=True)
    temperature_max = models.FloatField(null=True)
    power_count = models.BigIntegerField()
    power_sum = models.FloatField()
    power_min = models.FloatField(null=True)
    power_max = models.FloatField(null=True)
    power_measured = models.BigIntegerField(help_text="of power_count, samples that did not estimate it")
    agent_memory_count = models.BigIntegerField()
    agent_memory_sum = models.FloatField()
    network_count = models.BigIntegerField()
    network_rx_sum = models.FloatField()
    network_tx_sum = models.FloatField()
    queued_max = models.BigIntegerField(null=True)
    energy_count = models.BigIntegerField()
    energy_sum = models.FloatField()
    stage_count = models.BigIntegerField()
    stage_queue_sum = models.FloatField()
    stage_preprocess_sum = models.FloatField()
    stage_compute_sum = models.FloatField()
    stage_postprocess_sum = models.FloatField()
    stage_network_sum = models.FloatField(default=0)
    latency = models.BinaryField()

    class Meta:
        abstract = True


class DeviceRollup(Rollup):
    """One device's. The index begins with the time, so that what is written now lies together."""

    device = models.ForeignKey("devices.Device", models.CASCADE, related_name="+", db_constraint=False, db_index=False)

    class Meta:
        abstract = True


class FleetRollup(Rollup):
    """All devices' of one class that ran one variant; `manifest` is empty where the catalog does not know it."""

    device_class = models.CharField(max_length=16)
    manifest = models.CharField(max_length=64, blank=True)

    class Meta:
        abstract = True


class DeviceMinute(DeviceRollup):
    class Meta:
        constraints = (models.UniqueConstraint(fields=["start", "device"], name="device_minute"),)

    def __str__(self):
        return f"{self.device_id} {self.start}"


class DeviceHour(DeviceRollup):
    class Meta:
        constraints = (models.UniqueConstraint(fields=["start", "device"], name="device_hour"),)

    def __str__(self):
        return f"{self.device_id} {self.start}"


class FleetMinute(FleetRollup):
    class Meta:
        constraints = (models.UniqueConstraint(fields=["start", "device_class", "manifest"], name="fleet_minute"),)

    def __str__(self):
        return f"{self.device_class} {self.manifest[:12]} {self.start}"


class FleetHour(FleetRollup):
    class Meta:
        constraints = (models.UniqueConstraint(fields=["start", "device_class", "manifest"], name="fleet_hour"),)

    def __str__(self):
        return f"{self.device_class} {self.manifest[:12]} {self.start}"
