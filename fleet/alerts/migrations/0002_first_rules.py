"""Rules that are there from the start. People change and delete them as they like; they do not come back."""

from django.db import migrations

PROMISE_MS = 100
RULES = (
    dict(name="Offline", condition="offline", for_seconds=600, clear_seconds=60),
    dict(name="Too slow", condition="latency", threshold=PROMISE_MS, for_seconds=300, clear_seconds=120),
    dict(name="Too hot", condition="temperature", threshold=80, clear=75, for_seconds=60, clear_seconds=60, severity="critical"),
    dict(name="Disk almost full", condition="storage", threshold=90, clear=88, for_seconds=60),
    dict(name="Memory almost full", condition="memory", threshold=90, clear=85, for_seconds=300, clear_seconds=60),
    dict(name="Answers that are no number", condition="not_finite", threshold=0, clear_seconds=300, severity="critical"),
    dict(name="Decisions fail", condition="errors", threshold=10, clear=0, clear_seconds=120),
    dict(name="Update rolled back", condition="rolled_back"),
    dict(name="Clock ahead", condition="clock", threshold=60, clear=10, for_seconds=60, severity="info"),
    dict(name="Gateway stopped", condition="gateway", for_seconds=60, severity="critical"),
    dict(name="Messages to devices wait", condition="outbox", threshold=60, clear=10, for_seconds=60),
)


def make(apps, _):
    apps.get_model("alerts", "Rule").objects.bulk_create(
        apps.get_model("alerts", "Rule")(**rule) for rule in RULES
    )


class Migration(migrations.Migration):
    dependencies = [("alerts", "0001_initial")]

    operations = [migrations.RunPython(make, migrations.RunPython.noop)]
