"""Which open alerts a silence covers."""

from collections.abc import Sequence
from datetime import datetime

from django.db.models import Q, QuerySet

from fleet.alerts.evaluation import sliced
from fleet.alerts.models import Alert, Silence
from fleet.alerts.policy import Stage
from fleet.search.conditions import matching
from fleet.search.errors import SearchError


def active(now: datetime) -> QuerySet[Silence]:
    return Silence.objects.filter(ends_at__gt=now)


def covered(silences: Sequence[Silence], now: datetime) -> Q:
    """Alerts that any of these covers. One whose search cannot be read any more covers nothing."""
    found = Q(pk__in=[])
    for silence in silences:
        part = Q(rule=silence.rule_id) if silence.rule_id else Q()
        if silence.query:
            try:
                part &= Q(device_id__in=matching(silence.query, now).values("pk"))
            except SearchError:
                continue
        found |= part or Q(pk__isnull=False)
    return found


def mark(now: datetime) -> bool:
    """Note on every open alert whether it is covered now. Whether any changed; three queries, and two for a change."""
    rows = Alert.objects.filter(stage=Stage.OPEN).order_by()
    silences = list(active(now))
    before = set(rows.filter(silenced=True).values_list("pk", flat=True))
    after = set(rows.filter(covered(silences, now)).values_list("pk", flat=True)) if silences else set()
    for numbers, silenced in ((after - before, True), (before - after, False)):
        for some in sliced(sorted(numbers)):
            Alert.objects.filter(pk__in=some, stage=Stage.OPEN).update(silenced=silenced)
    return before != after
