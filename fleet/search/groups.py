"""Who is in which group, whether people or a query decide it; for all groups of a page at once."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Aggregate, BigIntegerField, Case, Count, F, Q, QuerySet, Value, When
from django.db.models.expressions import Combinable
from django.utils import timezone

from fleet.devices.models import Device, Group
from fleet.search.conditions import condition, matching, names_in
from fleet.search.errors import SearchError
from fleet.search.language import parse
from fleet.search.words import one_line

log = logging.getLogger(__name__)

#: Every page with groups counts their members; this keeps it a few queries.
MOST_DYNAMIC = 100
#: Parts of one statement that counts several groups.
AT_ONCE = 50


def members(group: Group) -> QuerySet[Device]:
    """Who is in it now (`Group.members`). A query that cannot be read any more finds nobody."""
    if not group.dynamic:
        return group.devices.all()
    try:
        return matching(group.query)
    except SearchError as problem:
        log.warning("nobody is in the group %s: %s", group.name, problem)
        return Device.objects.none()


def problem_of(group: Group) -> str:
    """Why its query cannot be read; empty when it can."""
    try:
        matching(group.query)
    except SearchError as problem:
        return str(problem)
    return ""


def count(
    groups: Sequence[Group], now: datetime, only: Q | None = None, **more: Aggregate
) -> dict[int, dict[str, Any]]:
    """By group: `n` devices in service, and whatever else is to be counted of them. A query for each fifty groups."""
    devices = Device.objects.filter(Q(retired_at=None) & (only or Q())).order_by()
    wanted = {"n": Count("pk"), **more}
    static = devices.filter(groups__in=[group.pk for group in groups if not group.dynamic]).annotate(of=F("groups"))
    parts = [
        static,
        *(devices.filter(found).annotate(of=_number(group.pk)) for group, found in _conditions(groups, now)),
    ]
    asked = [part.values("of").annotate(**wanted) for part in parts]
    counted = {}
    for start in range(0, len(asked), AT_ONCE):
        first, *others = asked[start : start + AT_ONCE]
        counted |= {row.pop("of"): row for row in (first.union(*others, all=True) if others else first)}
    nothing = dict.fromkeys(wanted, 0)
    return {group.pk: counted.get(group.pk, nothing) for group in groups}


def _number(value: int) -> Value:
    return Value(value, BigIntegerField())


def having(groups: Sequence[Group], now: datetime) -> dict[str, Combinable]:
    """Annotations of a query of devices, `in_<group>` for each dynamic group: whether the device is in it."""
    return {
        f"in_{group.pk}": Case(When(found, then=Value(True)), default=Value(False))
        for group, found in _conditions(groups, now)
    }


def _conditions(groups: Iterable[Group], now: datetime) -> Iterator[tuple[Group, Q]]:
    """The dynamic ones whose query can be read, with the condition that it is."""
    known = {group.name: group for group in groups if not group.dynamic}
    dynamic = [group for group in groups if group.dynamic]
    missing = {name for group in dynamic for name in _named(group.query)} - set(known)
    known |= {group.name: group for group in Group.objects.filter(name__in=missing)} if missing else {}
    for group in dynamic:
        try:
            yield group, condition(parse(group.query), now, known)
        except SearchError as problem:
            log.warning("nobody is in the group %s: %s", group.name, problem)


# --- Making and changing --------------------------------------------------------------------------------------------


def checked(query: str) -> str:
    """A query that may make a group; it names no groups but those that people fill. Raises SearchError."""
    given = one_line(query)
    tree = parse(given)
    if tree is None:
        raise SearchError("The query of a group has at least one condition: every device is not a group.", 0)
    matching(given)
    dynamic = set(Group.objects.exclude(query="").values_list("name", flat=True))
    for name, leaf in names_in(tree).items():
        if name in dynamic:
            raise SearchError(
                f"The group {leaf.value} has a query itself, and the query of a group names only groups that people "
                "fill; write its conditions here instead.",
                leaf.start,
                leaf.end - leaf.start,
            )
    return given


def users_of(group: Group) -> list[str]:
    """The names of the groups whose query names this one."""
    others = Group.objects.exclude(query="").exclude(pk=group.pk).values_list("name", "query")
    return [name for name, query in others if group.name in _named(query)]


def _named(query: str) -> set[str]:
    """The groups that a query names; none when it cannot be read."""
    try:
        return set(names_in(parse(query)))
    except SearchError:
        return set()


@dataclass(frozen=True, slots=True)
class Change:
    """What a query would make of a group. The devices are the first of those counted."""

    members: int
    joining: int
    leaving: int
    joins: list[Device]
    leaves: list[Device]

    @property
    def both(self) -> list[tuple[str, list[Device], int]]:
        """Those shown of each kind, and how many more there are."""
        shown = (("Would join", self.joins, self.joining), ("Would leave", self.leaves, self.leaving))
        return [(words, devices, number - len(devices)) for words, devices, number in shown]


def change(group: Group | None, query: str, now: datetime | None = None, shown: int = 20) -> Change:
    """Who would be in a group with this query, and who is in it now. Three queries. Raises SearchError."""
    now = now or timezone.now()
    after = condition(parse(query), now)
    before = Q(pk__in=[]) if group is None else Q(pk__in=members(group).values("pk"))
    numbers = Device.objects.aggregate(
        members=Count("pk", filter=after),
        joining=Count("pk", filter=after & ~before),
        leaving=Count("pk", filter=before & ~after),
    )
    rows = Device.objects.order_by("name", "id")
    return Change(
        **numbers, joins=list(rows.filter(after & ~before)[:shown]), leaves=list(rows.filter(before & ~after)[:shown])
    )
