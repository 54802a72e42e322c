"""Models, their versions, the trials that were measured, and the variants and releases that came of them."""

from django.conf import settings
from django.db import models
from django.utils import timezone

CLASSES = [("embedded", "embedded"), ("mobile", "mobile"), ("edge_server", "edge server")]


class Model(models.Model):
    """A policy that somebody trains and uploads versions of."""

    name = models.SlugField(max_length=64, unique=True)
    description = models.CharField(max_length=512, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("name",)

    def __str__(self):
        return self.name


class ModelVersion(models.Model):
    """One upload. Its files lie in the artifact store under their digests."""

    FORMATS = (("pt2", "torch.export (.pt2)"), ("onnx", "ONNX (.onnx)"))

    model = models.ForeignKey(Model, models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    format = models.CharField(max_length=8, choices=FORMATS)
    file_name = models.CharField(max_length=255)
    digest = models.CharField(max_length=64)
    size = models.BigIntegerField()
    card = models.JSONField(default=dict, help_text="the policy card as uploaded; empty when there is none")
    evaluation_digest = models.CharField(max_length=64, blank=True)
    evaluator = models.CharField(max_length=128, blank=True)
    notes = models.CharField(max_length=1024, blank=True)
    uploaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-created_at",)
        constraints = (models.UniqueConstraint(fields=["model", "number"], name="one_version_number"),)

    def __str__(self):
        return f"{self.model.name}@{self.number}"


class Trial(models.Model):
    """One candidate that was made and measured for one class: kept whether it won, lost or broke."""

    VERDICTS = (("won", "won"), ("passed", "passed"), ("lost", "lost"), ("failed", "failed"))

    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="trials")
    #: The job that judged it last; the one that measured it is in the lineage.
    job = models.ForeignKey("jobs.Job", models.SET_NULL, null=True, blank=True, related_name="trials")
    device_class = models.CharField(max_length=16, choices=CLASSES)
    #: Hash of input, recipe and tool versions: the same key is never measured twice.
    key = models.CharField(max_length=64)
    name = models.CharField(max_length=64)
    recipe = models.JSONField(default=dict)
    #: Measured: bytes, p50_ms, p95_ms, peak_bytes, cosine, max_error, success, episodes, success_low, success_high, …
    figures = models.JSONField(default=dict)
    verdict = models.CharField(max_length=8, choices=VERDICTS)
    reason = models.CharField(max_length=1000, blank=True)
    #: Of what, by what, where and when it was measured, and for whom. Stays as it is when a later job finds it again.
    lineage = models.JSONField(default=dict)
    score = models.FloatField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("device_class", "id")
        constraints = (models.UniqueConstraint(fields=["version", "device_class", "key"], name="one_trial_per_key"),)

    def __str__(self):
        return f"{self.name} for {self.get_device_class_display()}"


class Variant(models.Model):
    """A version made for a class: a manifest over parts. Every trial that passed has one; a release chooses."""

    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="variants")
    device_class = models.CharField(max_length=16, choices=CLASSES)
    trial = models.OneToOneField(Trial, models.CASCADE, related_name="variant")
    manifest_digest = models.CharField(max_length=64, db_index=True)
    manifest = models.JSONField()
    bytes = models.BigIntegerField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("device_class", "id")

    def __str__(self):
        return f"{self.version} {self.get_device_class_display()} ({self.trial.name})"


class Release(models.Model):
    """One variant per class, ready to roll out."""

    version = models.ForeignKey(ModelVersion, models.CASCADE, related_name="releases")
    number = models.PositiveIntegerField()
    variants = models.ManyToManyField(Variant, related_name="releases")
    notes = models.CharField(max_length=512, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-created_at",)
        constraints = (models.UniqueConstraint(fields=["version", "number"], name="one_release_number"),)

    def __str__(self):
        return f"{self.version} release {self.number}"
