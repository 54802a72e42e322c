"""The periodic looks. Idempotent: two at once do no harm."""

import logging
import time
from datetime import datetime, timedelta

from django.utils import timezone

from fleet.alerts import delivery, notifying, silencing
from fleet.alerts.conditions import CONDITIONS
from fleet.alerts.evaluation import look
from fleet.alerts.models import Alert, Delivery, Look, Rule
from fleet.alerts.policy import Stage
from fleet.audit.services import announce
from fleet.celery import app
from fleet.telemetry.tasks import drop

log = logging.getLogger(__name__)

#: Of a core's time, what looks may take: in a fleet that is too large for it they are further apart.
SHARE = 0.1
#: Days that ended alerts and what was sent are kept.
ALERT_DAYS, DELIVERY_DAYS = 365, 30


@app.task
def tick() -> None:
    """Look at every rule that reads rows of devices, then see who is told."""
    now = timezone.now()
    last = Look.objects.filter(pk=1).first()
    if last is not None and rests(last.at, last.seconds, now):
        return
    began = time.monotonic()
    _look(slow=False)
    if silencing.mark(now):
        announce("alerts")
    notifying.tell(now)
    Look.objects.update_or_create(pk=1, defaults={"at": now, "seconds": time.monotonic() - began})


def rests(at: datetime, seconds: float, now: datetime) -> bool:
    """Whether the last look, which took so long, was too short a time ago. Pure."""
    return timedelta(0) <= now - at < timedelta(seconds=seconds / SHARE)


@app.task
def count() -> None:
    """Look at the rules that count over minutes: they read more rows."""
    _look(slow=True)


def _look(*, slow: bool) -> None:
    for rule in Rule.objects.filter(enabled=True):
        if CONDITIONS[rule.condition].slow is slow:
            try:
                look(rule, timezone.now())
            except Exception:  # one rule that fails must not blind the others
                log.exception("the rule %s could not be looked at", rule.name)


@app.task
def deliver() -> None:
    """Send what is due."""
    delivery.deliver()


@app.task
def retention() -> None:
    now = timezone.now()
    drop(Alert.objects.filter(stage=Stage.RECOVERED, recovered_at__lt=now - timedelta(days=ALERT_DAYS)))
    drop(Delivery.objects.filter(created_at__lt=now - timedelta(days=DELIVERY_DAYS)).exclude(state=Delivery.QUEUED))
