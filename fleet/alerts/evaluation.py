"""One look at a rule: read, decide, and store what changed.

Reading takes no lock. What changes is stored by one short transaction of conditional statements for all devices
together, so that a second look at the same time finds nothing left to change: it does no harm, and says nothing twice.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from django.db import transaction
from django.db.models import Count

from fleet.alerts.conditions import CONDITIONS
from fleet.alerts.models import ACTIVE, Alert, Rule
from fleet.alerts.policy import FLAP_OPENS, FLAP_WINDOW, Stage, State, Step, began, decide, told
from fleet.alerts.readings import Found, readings
from fleet.audit.models import Event
from fleet.audit.services import announce, record_many
from fleet.search.errors import SearchError

#: Subjects in one statement: every database takes so many values.
SLICE = 10_000
#: New rows in one transaction.
AT_ONCE = 1000
#: Stands for the notification of what nobody is told of.
NOBODY = uuid.UUID(int=0)
_LEVELS = {"critical": "bad", "warning": "warn", "info": "info"}


def look(rule: Rule, now: datetime) -> bool:
    """Whether anything changed that somebody sees."""
    active = {
        subject: State(Stage(stage), since, calm_since, opens)
        for subject, stage, since, calm_since, opens in Alert.objects.filter(rule=rule, stage__in=ACTIVE)
        .order_by()
        .values_list("subject", "stage", "since", "calm_since", "opens")
    }
    try:
        found = readings(rule, now)
    except SearchError as problem:
        _say_problem(rule, str(problem))
        return False
    _say_problem(rule, "")
    steps: dict[Step, list[str]] = defaultdict(list)
    for subject in sorted(active.keys() | found.keys()):
        steps[decide(active.get(subject), found.get(subject), now, rule.policy)].append(subject)
    steps.pop(Step.NOTHING, None)
    if not steps:
        return False
    _begin(rule, [each for each in (*steps[Step.BEGIN], *steps[Step.OPEN]) if each not in active], found, now)
    return _store(rule, steps, found, now)


def _say_problem(rule: Rule, problem: str) -> None:
    if rule.problem != problem[:500]:
        rule.problem = problem[:500]
        Rule.objects.filter(pk=rule.pk).update(problem=rule.problem)


@transaction.atomic
def _store(rule: Rule, steps: Mapping[Step, list[str]], found: Found, now: datetime) -> bool:
    # Two that change the same rows in another order would wait for each other for ever.
    if not Rule.objects.select_for_update().filter(pk=rule.pk, enabled=True).exists():
        Alert.objects.filter(rule=rule.pk, stage=Stage.PENDING).delete()  # begun while somebody turned it off
        return False
    _change(rule, Stage.PENDING, steps[Step.RESTART], since=now)
    for subjects in sliced(steps[Step.DROP]):
        Alert.objects.filter(rule=rule, stage=Stage.PENDING, subject__in=subjects).delete()
    _change(rule, Stage.OPEN, steps[Step.CALM], calm_since=now)
    _change(rule, Stage.OPEN, steps[Step.UPSET], calm_since=None)
    opened = _open(rule, steps[Step.OPEN], now)
    recovered = end(rule, steps[Step.RECOVER], now) + end(
        rule, steps[Step.END], now, "its rule no longer applies to it"
    )
    _say(rule, opened, recovered, found, steps)
    return bool(opened or recovered)


def _begin(rule: Rule, subjects: list[str], found: Found, now: datetime) -> None:
    """Pending rows are nothing yet: they go in slices of their own, so that no writer waits for thousands of them."""
    for start in range(0, len(subjects), AT_ONCE):
        Alert.objects.bulk_create(
            (
                Alert(
                    rule=rule,
                    name=rule.name,
                    condition=rule.condition,
                    severity=rule.severity,
                    subject=subject,
                    device_id=subject or None,
                    since=began(found[subject], now),
                    value=found[subject].value,
                )
                for subject in subjects[start : start + AT_ONCE]
            ),
            ignore_conflicts=True,
        )


def _change(rule: Rule, of: Stage, subjects: list[str], **columns: object) -> int:
    return sum(
        Alert.objects.filter(rule=rule, stage=of, subject__in=some).update(**columns) for some in sliced(subjects)
    )


def _open(rule: Rule, subjects: list[str], now: datetime) -> int:
    """How many opened that somebody is told of."""
    earlier: dict[str, int] = {}
    for some in sliced(subjects):
        rows = Alert.objects.filter(
            rule=rule, stage=Stage.RECOVERED, opened_at__gt=now - FLAP_WINDOW, subject__in=some
        ).order_by()
        earlier |= dict(rows.values_list("subject").annotate(n=Count("pk")))
    by_opens: dict[int, list[str]] = defaultdict(list)
    for subject in subjects:
        by_opens[min(earlier.get(subject, 0), FLAP_OPENS) + 1].append(subject)
    opened = 0
    for opens, some in sorted(by_opens.items()):
        quiet = {} if told(opens) else {"opening_told": NOBODY, "ending_told": NOBODY}
        changed = _change(rule, Stage.PENDING, some, stage=Stage.OPEN, opened_at=now, opens=opens, **quiet)
        opened += changed if told(opens) else 0
    return opened


def end(rule: Rule, subjects: list[str], now: datetime, reason: str = "") -> int:
    """Open alerts of these subjects are over. How many were that somebody was told of."""
    over = {"stage": Stage.RECOVERED, "recovered_at": now, "reason": reason}
    for some in sliced(subjects):
        Alert.objects.filter(rule=rule, stage=Stage.OPEN, opening_told=NOBODY, subject__in=some).update(**over)
    return _change(rule, Stage.OPEN, subjects, **over)


def end_all(rule: Rule, now: datetime, reason: str) -> int:
    """Every alert of a rule is over, whatever is measured; in the caller's transaction."""
    active = Alert.objects.filter(rule=rule, stage__in=ACTIVE)
    active.filter(stage=Stage.PENDING).delete()
    ended = active.update(stage=Stage.RECOVERED, recovered_at=now, reason=reason)
    announce("alerts")
    return ended


def sliced(values: list) -> Iterable[list]:
    return (values[start : start + SLICE] for start in range(0, len(values), SLICE))


def _say(rule: Rule, opened: int, recovered: int, found: Found, steps: Mapping[Step, list[str]]) -> None:
    """One event for all that opened in this look, one for all that ended; open pages look again."""
    ended = steps[Step.RECOVER] + steps[Step.END]
    if opened:
        record_many([_event(rule, "alert.opened", _LEVELS[rule.severity], steps[Step.OPEN], opened, found)])
    if recovered:
        record_many([_event(rule, "alert.recovered", "ok", ended, recovered, found)])
    changed = [subject for subject in (*steps[Step.OPEN], *ended) if subject][:200]
    if changed or opened or recovered:
        announce("alerts", "fleet", *(f"device:{subject}" for subject in changed))


def _event(rule: Rule, kind: str, level: str, subjects: list[str], number: int, found: Found) -> Event:
    condition = CONDITIONS[rule.condition]
    over = kind == "alert.recovered"
    if number == len(subjects) == 1 and subjects[0]:
        value = found[subjects[0]].value if subjects[0] in found else None
        said = condition.said(value)
        words = f"{rule.name}: over" if over else f"{rule.name}: it {condition.sentence(value)}"
        return Event(
            kind=kind, level=level, text=words, detail=f"now {said}" if over and said else "", device_id=subjects[0]
        )
    whom = "the server" if subjects == [""] else f"{number:,} device{'' if number == 1 else 's'}"
    return Event(kind=kind, level=level, text=f"{rule.name}: {'over on ' if over else ''}{whom}")
