"""Alerts as a fleet that is looked after has them: some wait, some are somebody's, some are silenced, some are over."""

from datetime import timedelta
from importlib import import_module

from django.apps import apps

from fleet.alerts.models import Alert, Channel, Delivery, Look, Rule, Silence
from fleet.alerts.notifying import test_body
from fleet.devices.models import Device


def fill(devices: list[Device], operator, now) -> None:
    if not Rule.objects.exists():
        import_module("fleet.alerts.migrations.0002_first_rules").make(apps, None)
    rules = {rule.name: rule for rule in Rule.objects.all()}
    minute = timedelta(minutes=1)
    slow = [device for device in devices if (device.latency_p95 or 0) > 100]
    away = [device for device in devices if device.last_seen and not device.online]
    hot = [device for device in devices if device.temperature][:2]
    rows = [_opened(rules["Too slow"], each, now - n * minute, each.latency_p95) for n, each in enumerate(slow)]
    rows += [_opened(rules["Offline"], each, now - 11 * minute - n * minute, 1.0) for n, each in enumerate(away)]
    rows += [_opened(rules["Too hot"], each, now - 3 * minute, 83.0) for each in hot]
    rows.append(_opened(rules["Gateway stopped"], None, now - 90 * minute, 1.0))
    rows[-1].stage, rows[-1].recovered_at = "recovered", now - 85 * minute
    if hot:
        rows[len(slow) + len(away)].opens = 3
    for row in rows[1::4]:
        row.acknowledged_at, row.acknowledged_by, row.note = row.opened_at + minute, operator, "The fan is on its way"
    for row in rows[2::5]:
        if not row.acknowledged_at and row.stage == "open":
            row.silenced = True
    for n, each in enumerate(devices[1:30]):
        over = _opened(rules["Memory almost full"], each, now - timedelta(hours=3 + n), 93.0)
        over.stage, over.recovered_at = "recovered", over.opened_at + 20 * minute
        rows.append(over)
    Alert.objects.bulk_create(rows)
    Rule.objects.create(
        name="Berlin draws too much",
        query="tag:site=berlin class:embedded",
        condition="power",
        threshold=8,
        clear=7.5,
        for_seconds=120,
        created_by=operator,
        enabled=False,
    )
    _silences(rules, operator, now)
    _channels(operator, now)
    Look.objects.update_or_create(pk=1, defaults={"at": now + timedelta(days=1), "seconds": 0.02})


def _opened(rule: Rule, device: Device | None, at, value: float) -> Alert:
    return Alert(
        rule=rule,
        name=rule.name,
        condition=rule.condition,
        severity=rule.severity,
        subject=device.pk if device else "",
        device=device,
        stage="open",
        since=at,
        opened_at=at,
        value=value,
        opens=1,
    )


def _silences(rules: dict[str, Rule], operator, now) -> None:
    for rule, query, hours, reason in (
        (rules["Offline"], "tag:site=osaka", 3, "The hall is without power until the evening"),
        (None, "group:lab", 20, "Benches are moved"),
        (rules["Too hot"], "", -4, "New firmware on the fans"),
    ):
        Silence.objects.create(
            rule=rule,
            query=query,
            ends_at=now + timedelta(hours=hours),
            reason=reason,
            created_by=operator,
            created_at=now - timedelta(hours=6),
        )


def _channels(operator, now) -> None:
    mail = Channel.objects.create(
        name="People on duty", kind="email", target="duty@example.org", severity="critical", sent_at=now
    )
    hook = Channel.objects.create(
        name="Operations room",
        kind="webhook",
        target="https://hooks.example.org/edgefleet",
        error="it answered 503: out of order",
        error_at=now - timedelta(minutes=4),
    )
    for channel, state, text in (
        (mail, "sent", "Too hot: 2 devices"),
        (hook, "queued", "Offline: 12 devices"),
        (hook, "failed", "Too slow: arm-0060"),
    ):
        body = test_body(channel, operator.username, now) | {"text": text, "kind": "opened"}
        Delivery.objects.create(
            channel=channel,
            notification=body["id"],
            body=body,
            state=state,
            attempts=1 if state == "sent" else 4,
            error="" if state == "sent" else "it answered 503: out of order",
            next_at=now + timedelta(minutes=2),
        )
