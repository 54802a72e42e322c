"""What people do with rules, alerts and silences. Each call is one transaction with its event."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from fleet import text, units
from fleet.alerts import silencing
from fleet.alerts.conditions import CONDITIONS, Subject, limit
from fleet.alerts.evaluation import end_all
from fleet.alerts.models import Alert, Rule, Silence
from fleet.alerts.policy import Severity, Stage
from fleet.alerts.readings import devices_of, met_now
from fleet.audit.services import announce, record
from fleet.errors import Refused
from fleet.search.conditions import matching
from fleet.search.words import one_line

#: Each is looked at every few seconds.
MOST_RULES = 100
LONGEST_SECONDS = 7 * 86_400
LONGEST_SILENCE = timedelta(days=365)

# --- Rules ----------------------------------------------------------------------------------------------------------

#: What a person says of a rule.
FIELDS = (
    *("name", "query", "condition", "comparison", "threshold", "clear"),
    *("for_seconds", "clear_seconds", "severity", "enabled"),
)


def checked(rule: Rule) -> Rule:
    """A rule that can be watched. Raises Refused, for its search SearchError."""
    rule.name = text.line(rule.name, "A rule's name", 64, "Give the rule a name.")
    rule.query = one_line(rule.query)
    condition = CONDITIONS.get(rule.condition)
    if condition is None:
        raise Refused(f"There is no condition “{rule.condition[:32]}”.")
    if rule.severity not in list(Severity):
        raise Refused(f"A rule is {', '.join(Severity)}; not “{rule.severity[:32]}”.")
    if condition.measure is None:
        rule.comparison, rule.threshold, rule.clear = ">", None, None
    else:
        _check_threshold(rule)
    for name in ("for_seconds", "clear_seconds"):
        if not 0 <= getattr(rule, name) <= LONGEST_SECONDS:
            raise Refused(f"A rule waits for up to {units.duration(LONGEST_SECONDS)}.")
    if condition.subject is Subject.SERVER:
        rule.query = ""
    matching(rule.query)
    return rule


def _check_threshold(rule: Rule) -> None:
    condition = CONDITIONS[rule.condition]
    if rule.threshold is None:
        raise Refused(f"Say from which value on: {condition.label} is compared with a threshold.")
    if rule.comparison not in condition.comparisons:
        raise Refused(f"{condition.label} is compared with {' or '.join(condition.comparisons)}.")
    if not all(math.isfinite(value) for value in (rule.threshold, rule.clear or 0.0)):
        raise Refused(f"{condition.label} is compared with a number.")
    above = rule.comparison == ">"
    if rule.clear is not None and (rule.clear > rule.threshold if above else rule.clear < rule.threshold):
        raise Refused(
            f"What it recovers at cannot lie {'above' if above else 'below'} {condition.said(rule.threshold)}."
        )


@transaction.atomic
def create_rule(by, **given: object) -> Rule:
    """Of FIELDS. Raises Refused, for its search SearchError."""
    rule = checked(Rule(created_by=by, **given))
    if Rule.objects.count() >= MOST_RULES:
        raise Refused(f"There are at most {MOST_RULES} rules; delete one first.")
    _save(rule)
    record("alert_rule.created", f"Alert rule {rule.name}: {described(rule)}", detail=rule.query, actor=by)
    announce("alerts")
    return rule


@transaction.atomic
def update_rule(rule: Rule, by, **given: object) -> None:
    """What it watched before is over when its condition becomes another one."""
    now = timezone.now()
    rule = Rule.objects.select_for_update().get(pk=rule.pk)
    before = (rule.condition, rule.comparison, rule.threshold, rule.clear)
    enabled = rule.enabled
    for name, value in given.items():
        setattr(rule, name, value)
    checked(rule)
    _save(rule)
    if before != (rule.condition, rule.comparison, rule.threshold, rule.clear):
        end_all(rule, now, "its rule was changed")
    elif enabled and not rule.enabled:
        end_all(rule, now, "its rule was turned off")
    record("alert_rule.updated", f"Alert rule {rule.name}: {described(rule)}", detail=rule.query, actor=by)
    announce("alerts")


@transaction.atomic
def enable_rule(rule: Rule, enabled: bool, by) -> None:
    if not Rule.objects.filter(pk=rule.pk).exclude(enabled=enabled).update(enabled=enabled):
        raise Refused(f"{rule.name} is {'on' if enabled else 'off'} already.")
    if not enabled:
        end_all(rule, timezone.now(), "its rule was turned off")
    record("alert_rule.updated", f"Alert rule {rule.name} was turned {'on' if enabled else 'off'}", actor=by)
    announce("alerts")


@transaction.atomic
def delete_rule(rule: Rule, by) -> None:
    """What it found stays to be read."""
    end_all(rule, timezone.now(), "its rule was deleted")
    name = rule.name
    rule.delete()
    record("alert_rule.deleted", f"Alert rule {name} was deleted", level="warn", actor=by)
    announce("alerts")


def _save(rule: Rule) -> None:
    try:
        with transaction.atomic():
            rule.save()
    except IntegrityError as problem:
        raise Refused(f"There is already a rule called {rule.name}.") from problem


def described(rule: Rule) -> str:
    """`Temperature above 80 °C for 5 min`, for an event and a list."""
    condition = CONDITIONS[rule.condition]
    limits = limit(condition, rule.comparison, rule.threshold)
    time = f"for {units.duration(rule.for_seconds)}" if rule.for_seconds else ""
    return " ".join(filter(None, (condition.label, limits, time)))


@dataclass(frozen=True, slots=True)
class Preview:
    """Devices that a rule would watch now, and those (the first by name) that meet its condition now."""

    watched: int
    met: int
    names: list[tuple[str, str]]
    server: bool


def preview(rule: Rule, now: datetime, shown: int = 12) -> Preview:
    """Five queries at most. Raises Refused, for its search SearchError."""
    checked(rule)
    met = list(met_now(rule, now))
    if CONDITIONS[rule.condition].subject is Subject.SERVER:
        return Preview(0, len(met), [], True)
    watched = devices_of(rule, now)
    names = list(watched.filter(pk__in=met[:1000]).order_by("name", "id").values_list("pk", "name")[:shown])
    return Preview(watched.count(), len(met), names, False)


# --- Alerts ---------------------------------------------------------------------------------------------------------


def acknowledge(alerts: Iterable[int], note: str, by) -> int:
    """Somebody looks after these; their numbers. Returns how many were open and nobody's."""
    return _acknowledge(Alert.objects.filter(pk__in=list(alerts)), note, by)


def acknowledge_rule(rule: Rule, note: str, by) -> int:
    """All that is open of a rule."""
    return _acknowledge(Alert.objects.filter(rule=rule), note, by)


@transaction.atomic
def _acknowledge(alerts: QuerySet[Alert], note: str, by) -> int:
    note = text.line(note, "A note", 500)
    rows = alerts.filter(stage=Stage.OPEN, acknowledged_at=None)
    first = rows.select_related("device").first()
    changed = rows.update(acknowledged_at=timezone.now(), acknowledged_by=by, note=note)
    if first is None or not changed:
        return 0
    one = changed == 1
    words = f"{first.name}: acknowledged" if one else f"{changed:,} alerts were acknowledged"
    record(
        "alert.acknowledged", words, detail=note, actor=by, **({"device": first.device} if one and first.device else {})
    )
    announce("alerts")
    return changed


# --- Silences -------------------------------------------------------------------------------------------------------


@transaction.atomic
def create_silence(rule: Rule | None, query: str, ends_at: datetime, reason: str, by) -> Silence:
    """Without a rule of every rule, without a search of every device. Raises Refused, for its search SearchError."""
    now = timezone.now()
    reason = text.line(reason, "The reason", 200, "Say why, for the others who look at this.")
    query = one_line(query)
    matching(query)
    if ends_at <= now:
        raise Refused("The silence would already be over.")
    if ends_at - now > LONGEST_SILENCE:
        raise Refused(f"A silence lasts up to {LONGEST_SILENCE.days} days; turn the rule off, or narrow its search.")
    silence = Silence.objects.create(rule=rule, query=query, ends_at=ends_at, reason=reason, created_by=by)
    words = f"Alerts of {silence} are silenced for {units.duration((ends_at - now).total_seconds())}"
    record("silence.created", words, level="warn", detail=reason, actor=by)
    silencing.mark(now)
    announce("alerts")
    return silence


@transaction.atomic
def end_silence(silence: Silence, by) -> None:
    now = timezone.now()
    if not Silence.objects.filter(pk=silence.pk, ends_at__gt=now).update(ends_at=now, ended_by=by):
        raise Refused("This silence is over already.")
    record("silence.ended", f"Alerts of {silence} are no longer silenced", actor=by)
    silencing.mark(now)
    announce("alerts")
