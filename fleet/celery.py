"""The Celery application: `celery -A fleet worker|beat`."""

import os

from celery import Celery

from fleet import filequeue

filequeue.use()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleet.settings")

app = Celery("fleet")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["fleet.alerts", "fleet.jobs", "fleet.rollouts", "fleet.telemetry", "fleet.trust"])
