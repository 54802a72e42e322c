"""Who is told what: all alerts of a rule that opened (or ended) by now are one notification, whatever their number.

1. The first that opens waits `WAIT`, for those that open with it.
2. What opens later is told together once `INTERVAL` has passed since the rule was told of last.
3. What a silence covers, what somebody acknowledged, and what ended before it was told, is not told. What a silence
   covered and is still open when it ends, is.
4. An end is told by the same rules, of what was told when it opened.
"""

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Max, Min
from django.urls import reverse

from fleet.alerts.conditions import CONDITIONS, limit
from fleet.alerts.models import Alert, Channel, Delivery, Rule
from fleet.alerts.policy import Severity, Stage, flaps

WAIT = timedelta(seconds=10)
INTERVAL = timedelta(minutes=5)
#: Alerts that a notification lists; the others it counts.
LISTED = 50
_RANK = {severity.value: rank for rank, severity in enumerate(Severity)}

_OPENED = {"stage": Stage.OPEN, "opening_told": None, "silenced": False, "acknowledged_at": None}
_ENDED = {"stage": Stage.RECOVERED, "opening_told__isnull": False, "ending_told": None, "silenced": False}


def due(oldest: datetime, last: datetime | None, now: datetime) -> bool:
    """Whether what waits since `oldest` is told now; last: when the rule was told of before. Pure."""
    if timedelta(0) <= now - oldest < WAIT:
        return False
    return last is None or not timedelta(0) <= now - last < INTERVAL


def tell(now: datetime) -> int:
    """How many notifications were written. Two queries, and a few for each rule that has something to tell."""
    told = 0
    for kind, rows, moment, last in (
        ("opened", _OPENED, "opened_at", "rule__opened_told_at"),
        ("recovered", _ENDED, "recovered_at", "rule__ended_told_at"),
    ):
        waiting = Alert.objects.filter(rule__isnull=False, **rows).order_by().values("rule")
        for row in waiting.annotate(oldest=Min(moment), last=Max(last)):
            if due(row["oldest"], row["last"], now):
                told += _tell(row["rule"], kind, now)
    return told


@transaction.atomic
def _tell(rule_id: int, kind: str, now: datetime) -> bool:
    rule = Rule.objects.select_for_update().filter(pk=rule_id).first()
    number = uuid.uuid4()
    rows, column = (_OPENED, "opening_told") if kind == "opened" else (_ENDED, "ending_told")
    if rule is None or not Alert.objects.filter(rule=rule, **rows).update(**{column: number}):
        return False
    column_at = "opened_told_at" if kind == "opened" else "ended_told_at"
    Rule.objects.filter(pk=rule.pk).update(**{column_at: now})
    channels = Channel.objects.filter(enabled=True)
    if kind == "recovered":
        channels = channels.filter(recoveries=True)
    queue((each for each in channels if _RANK[rule.severity] <= _RANK[each.severity]), _body(rule, kind, number, now))
    return True


def queue(channels: Iterable[Channel], body: dict) -> None:
    """Write it into the outbox, in the caller's transaction."""
    Delivery.objects.bulk_create(
        [Delivery(channel=channel, notification=body["id"], body=body) for channel in channels]
    )


# --- What is said ---------------------------------------------------------------------------------------------------


def _body(rule: Rule, kind: str, number: uuid.UUID, now: datetime) -> dict:
    """What a webhook gets, and an e-mail is written from."""
    column = "opening_told" if kind == "opened" else "ending_told"
    rows = Alert.objects.filter(rule=rule, **{column: number})
    count = rows.aggregate(n=Count("pk"))["n"]
    listed = [_line(alert) for alert in rows.select_related("device").order_by("device__name", "pk")[:LISTED]]
    condition = CONDITIONS[rule.condition]
    whom = listed[0]["on"] if count == 1 else f"{count:,} devices"
    return {
        "id": str(number),
        "kind": kind,
        "at": now.isoformat(),
        "text": f"{rule.name}: {whom}" if kind == "opened" else f"{rule.name} is over: {whom}",
        "rule": {
            "id": rule.pk,
            "name": rule.name,
            "severity": rule.severity,
            "condition": rule.condition,
            "limit": limit(condition, rule.comparison, rule.threshold),
            "search": rule.query,
        },
        "count": count,
        "alerts": listed,
        "url": link(f"{reverse('alerts')}?rule={rule.pk}"),
    }


def _line(alert: Alert) -> dict:
    device = alert.device
    return {
        "id": alert.pk,
        "device": device.pk if device else None,
        "on": device.name if device else "the server",
        "value": alert.value,
        "said": CONDITIONS[alert.condition].sentence(alert.value),
        "flapping": flaps(alert.opens),
        "opened_at": alert.opened_at.isoformat() if alert.opened_at else None,
        "recovered_at": alert.recovered_at.isoformat() if alert.recovered_at else None,
        "url": link(reverse("devices.detail", args=[device.pk])) if device else "",
    }


def test_body(channel: Channel, by: str, now: datetime) -> dict:
    """What proves that an address gets what is sent to it."""
    return {
        "id": str(uuid.uuid4()),
        "kind": "test",
        "at": now.isoformat(),
        "text": f"A test of the channel {channel.name}, sent by {by}",
        "rule": None,
        "count": 0,
        "alerts": [],
        "url": link(reverse("alerts")),
    }


def link(path: str) -> str:
    """An address that people outside of the pages can open; empty where the pages' own is not known."""
    return settings.ADDRESS + path if settings.ADDRESS else ""
