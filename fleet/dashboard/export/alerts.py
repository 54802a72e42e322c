"""The list of alerts."""

from datetime import datetime

from fleet.alerts.conditions import CONDITIONS
from fleet.alerts.models import Alert
from fleet.alerts.readings import current
from fleet.dashboard.export.reading import Params, in_order, readable
from fleet.dashboard.export.table import Table, count, number, text, time
from fleet.dashboard.selectors import alerts as of_alerts


def alerts(params: Params, of: str, now: datetime) -> Table[Alert]:
    """value and now are in `unit`; now is the figure of this moment, empty where that is not known or all is over."""

    def look(ids: list[int]) -> list[Alert]:
        return list(of_alerts.with_subjects(Alert.objects.filter(pk__in=ids)))

    def current_value(alert: Alert) -> float | None:
        return None if alert.recovered_at else current(alert.condition, alert.device, now)

    def unit(alert: Alert) -> str:
        measure = CONDITIONS[alert.condition].measure
        return measure.unit if measure else ""

    columns = (
        count("alert", lambda a: a.pk),
        text("rule", lambda a: a.name),
        text("severity", lambda a: a.severity),
        text("state", of_alerts.state_of),
        text("device", lambda a: a.device_id or ""),
        text("name", lambda a: a.device.name if a.device else ""),
        text("condition", lambda a: a.condition),
        text("what", lambda a: CONDITIONS[a.condition].sentence(a.value)),
        number("value", lambda a: a.value),
        number("now", current_value),
        text("unit", unit),
        count("opens", lambda a: a.opens),
        time("since", lambda a: a.since),
        time("opened_at", lambda a: a.opened_at),
        time("acknowledged_at", lambda a: a.acknowledged_at),
        text("acknowledged_by", lambda a: a.acknowledged_by.username if a.acknowledged_by else ""),
        text("note", lambda a: a.note),
        time("recovered_at", lambda a: a.recovered_at),
        text("reason", lambda a: a.reason),
    )
    return Table("alerts", columns, in_order(of_alerts.found(readable(params, now), now), look))
