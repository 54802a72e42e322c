"""Alerts, rules, silences and channels, for the pages that show them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Case, Count, Exists, IntegerField, Max, OuterRef, Q, QuerySet, Value, When
from django.utils.translation import ngettext

from fleet.alerts import services
from fleet.alerts.conditions import CONDITIONS, Subject
from fleet.alerts.models import WAITING, Alert, Channel, Delivery, Look, Rule, Silence
from fleet.alerts.policy import Severity, Stage, flaps
from fleet.alerts.readings import current
from fleet.dashboard import listing
from fleet.dashboard.selectors.devices import Search, search_of
from fleet.devices.models import Device
from fleet.sentences import said

#: The worst first.
_RANK = {severity.value: rank for rank, severity in enumerate(Severity)}
#: What the list shows: the alerts of one of these.
SHOWN = ("waiting", "acknowledged", "silenced", "recovered")
_OF = {
    "waiting": WAITING,
    "acknowledged": Q(stage=Stage.OPEN, acknowledged_at__isnull=False),
    "silenced": Q(stage=Stage.OPEN, acknowledged_at=None, silenced=True),
    "recovered": Q(stage=Stage.RECOVERED),
}
#: With no look at the rules for so long, what is shown is old.
LOOKED = timedelta(seconds=60)
#: What opened within this time is news.
NEWS = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Counts:
    """Open alerts: those that wait for somebody, of these the worst severity; acknowledged; covered by a silence."""

    waiting: int = 0
    acknowledged: int = 0
    silenced: int = 0
    worst: str = ""

    @property
    def open(self) -> int:
        return self.waiting + self.acknowledged + self.silenced


def counts() -> Counts:
    """One query."""
    found: Counter[str] = Counter()
    worst = ""
    rows = Alert.objects.filter(stage=Stage.OPEN).order_by().values("severity")
    for row in rows.annotate(**{f"n_{name}": Count("pk", filter=_OF[name]) for name in SHOWN[:3]}):
        found.update({name: row[f"n_{name}"] for name in SHOWN[:3]})
        if row["n_waiting"] and (not worst or _RANK[row["severity"]] < _RANK[worst]):
            worst = row["severity"]
    return Counts(found["waiting"], found["acknowledged"], found["silenced"], worst)


def open_alerts(limit: int = 10) -> list[Alert]:
    """Those that wait for somebody, the newest first, with their devices. One query."""
    return list(Alert.objects.filter(WAITING).select_related("device", "rule")[:limit])


@dataclass(frozen=True, slots=True)
class Line:
    """One alert in words. said: what it was when it opened; now: the figure of this moment, where that is known."""

    alert: Alert
    state: str
    said: str
    now: str

    @property
    def flapping(self) -> bool:
        return flaps(self.alert.opens)


def state_of(alert: Alert) -> str:
    """One of SHOWN, for an alert that has opened."""
    if alert.stage == Stage.RECOVERED:
        return "recovered"
    return "acknowledged" if alert.acknowledged_at else "silenced" if alert.silenced else "waiting"


def line(alert: Alert, now: datetime) -> Line:
    condition = CONDITIONS[alert.condition]
    state = state_of(alert)
    value = None if state == "recovered" else current(alert.condition, alert.device, now)
    return Line(alert, state, said(condition.sentence(alert.value)), said(condition.said(value)))


def alerted(device: OuterRef) -> Exists:
    """Whether any alert of a device is open."""
    return Exists(Alert.objects.filter(device=device, stage=Stage.OPEN))


def of_device(device: Device, now: datetime) -> list[Line]:
    """What is open on one device, the worst first. One query; none for a device that says that it is not `alerted`."""
    if not getattr(device, "alerted", True):
        return []
    rows = list(Alert.objects.filter(device=device, stage=Stage.OPEN).select_related("rule", "acknowledged_by"))
    for alert in rows:
        alert.device = device
    return [line(alert, now) for alert in sorted(rows, key=lambda alert: _RANK[alert.severity])]


# --- The list -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Group:
    """The alerts of one rule among those listed. rule is None where it was deleted."""

    rule: int | None
    name: str
    severity: str
    count: int
    newest: datetime


@dataclass(frozen=True, slots=True)
class AlertList:
    """One page of alerts. groups: how many of each rule the whole list has, by the rule's number and name."""

    lines: list[Line]
    groups: list[Group]
    pager: listing.Pager
    state: listing.State
    search: Search
    shown: str
    counts: Counts
    severity: str
    rule: int

    @property
    def facets(self) -> list[tuple[str, int | None, str]]:
        found = {name: getattr(self.counts, name, None) for name in SHOWN}
        return [(name, n, self.state.url(show="" if name == "waiting" else name)) for name, n in found.items()]

    @property
    def sections(self) -> list[tuple[Group, list[Line]]]:
        """The page's lines under their rules."""
        found: list[tuple[Group, list[Line]]] = []
        by_name = {(group.rule, group.name, group.severity): group for group in self.groups}
        for each in self.lines:
            group = by_name[each.alert.rule_id, each.alert.name, each.alert.severity]
            if not found or found[-1][0] is not group:
                found.append((group, []))
            found[-1][1].append(each)
        return found


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the list's address says."""

    search: Search
    shown: str
    severity: str
    rule: int

    def chosen(self, now: datetime) -> QuerySet[Alert]:
        rows = Alert.objects.filter(_OF[self.shown])
        if self.search.text:
            rows = rows.filter(device_id__in=self.search.found(now).values("pk"))
        if self.severity:
            rows = rows.filter(severity=self.severity)
        return rows.filter(rule=self.rule) if self.rule else rows

    def ordered(self, rows: QuerySet[Alert]) -> QuerySet[Alert]:
        """`opened_at` alone would take the rules' alerts out of one another."""
        if self.shown == "recovered":
            return rows.order_by("-recovered_at", "-id")
        return rows.annotate(rank=_rank()).order_by("rank", "name", "rule_id", "-opened_at", "-id")


def _asked(params: Mapping[str, str], now: datetime) -> _Asked:
    return _Asked(
        search_of(params, now),
        listing.choice(params, "show", SHOWN, "waiting"),
        listing.choice(params, "severity", tuple(_RANK)),
        listing.number(params, "rule", 0),
    )


def with_subjects(rows: QuerySet[Alert]) -> QuerySet[Alert]:
    """With everything that a line about an alert names, in one query."""
    return rows.select_related("device", "rule", "acknowledged_by")


def found(params: Mapping[str, str], now: datetime) -> QuerySet[Alert]:
    """All that the list has pages of, in its order."""
    asked = _asked(params, now)
    return asked.ordered(asked.chosen(now))


def alert_list(params: Mapping[str, str], now: datetime) -> AlertList:
    """Four queries, and one for groups that the search names."""
    asked = _asked(params, now)
    rows = asked.chosen(now)
    groups = _groups(rows)
    pager = listing.pager(params, sum(group.count for group in groups))
    state = listing.State(
        {
            "q": asked.search.text,
            "show": "" if asked.shown == "waiting" else asked.shown,
            "severity": asked.severity,
            "rule": str(asked.rule) if asked.rule else "",
            "page": str(pager.number) if pager.number > 1 else "",
        }
    )
    page = with_subjects(asked.ordered(rows))[pager.start : pager.end]
    lines = [line(alert, now) for alert in page]
    return AlertList(lines, groups, pager, state, asked.search, asked.shown, counts(), asked.severity, asked.rule)


def _rank() -> Case:
    whens = [When(severity=severity, then=Value(rank)) for severity, rank in _RANK.items()]
    return Case(*whens, default=Value(len(_RANK)), output_field=IntegerField())


def _groups(rows: QuerySet[Alert]) -> list[Group]:
    found = rows.order_by().values_list("rule", "name", "severity").annotate(n=Count("pk"), newest=Max("opened_at"))
    return sorted((Group(*row) for row in found), key=lambda group: (_RANK[group.severity], group.name))


def stale(now: datetime) -> datetime | None:
    """When a worker last looked at the rules, where that is too long ago. One query."""
    at = Look.objects.values_list("at", flat=True).first()
    return at if at is not None and now - at > LOOKED else None


@dataclass(frozen=True, slots=True)
class News:
    """The rule whose alert opened last, and how many of it just did."""

    rule: int
    text: str
    severity: str


def news(now: datetime) -> News | None:
    """What open pages say aloud; None where nothing opened just now. One query."""
    fresh = Alert.objects.filter(WAITING, opened_at__gt=now - NEWS, rule__isnull=False).order_by()
    rows = fresh.values_list("rule", "name", "severity").annotate(n=Count("pk"), newest=Max("opened_at"))
    newest = max(rows, key=lambda row: row[-1], default=None)
    if newest is None:
        return None
    rule, name, severity, number, _ = newest
    text = ngettext("{name}: {number} alert opened", "{name}: {number} alerts opened", number)
    return News(rule, text.format(name=name, number=f"{number:,}"), severity)


# --- Rules, silences, channels --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RuleLine:
    rule: Rule
    words: str
    server: bool
    open: int


def rules() -> list[RuleLine]:
    """Every rule, with its open alerts counted. One query."""
    rows = Rule.objects.annotate(n=Count("alerts", filter=Q(alerts__stage=Stage.OPEN)), rank=_rank())
    return [
        RuleLine(rule, said(services.described(rule)), CONDITIONS[rule.condition].subject is Subject.SERVER, rule.n)
        for rule in rows.order_by("rank", "name")
    ]


@dataclass(frozen=True, slots=True)
class SilenceList:
    active: list[Silence]
    over: list[Silence]


def silences(now: datetime, over: int = 20) -> SilenceList:
    """One query for those that are active, one for the last that are over."""
    rows = Silence.objects.select_related("rule", "created_by", "ended_by")
    return SilenceList(
        list(rows.filter(ends_at__gt=now).order_by("ends_at")), list(rows.filter(ends_at__lte=now)[:over])
    )


@dataclass(frozen=True, slots=True)
class ChannelLine:
    channel: Channel
    waiting: int
    given_up: int


def channels() -> list[ChannelLine]:
    """Every channel, with what waits and what was given up. One query."""
    rows = Channel.objects.annotate(
        n_waiting=Count("deliveries", filter=Q(deliveries__state=Delivery.QUEUED)),
        n_failed=Count("deliveries", filter=Q(deliveries__state=Delivery.FAILED)),
    )
    return [ChannelLine(channel, channel.n_waiting, channel.n_failed) for channel in rows]


def deliveries(count: int = 20) -> list[Delivery]:
    return list(Delivery.objects.select_related("channel")[:count])


def failing() -> list[Channel]:
    """Channels whose last attempt failed. One query."""
    return list(Channel.objects.filter(enabled=True).exclude(error=""))
