"""Lineage moves from the job to each trial, where a later job cannot change it."""

from django.db import migrations, models


def take_over(apps, _):
    """What is known of the trials that are there: their last job's."""
    trials = apps.get_model("catalog", "Trial").objects.exclude(job=None).select_related("job__created_by")
    for trial in trials.iterator(500):
        job = trial.job
        trial.lineage = {
            **(job.result or {}).get("lineage", {}),
            "job": job.pk,
            "asked_by": job.created_by.username if job.created_by else "",
            "asked_at": job.created_at.isoformat(timespec="seconds"),
        }
        trial.save(update_fields=["lineage"])


class Migration(migrations.Migration):
    dependencies = [
        ("catalog", "0002_initial"),
        ("jobs", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="trial",
            name="lineage",
            field=models.JSONField(default=dict),
        ),
        migrations.RunPython(take_over, migrations.RunPython.noop, elidable=True),
    ]
