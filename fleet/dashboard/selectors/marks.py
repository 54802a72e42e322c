"""What happened on one device, to be marked on its charts: deployments with their state, alerts, boots, commands,
changes."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy

from agent.wire.states import DEPLOYMENT_ENDS
from agent.wire.states import Deployment as State
from fleet.alerts.models import Alert
from fleet.alerts.policy import Stage
from fleet.audit.models import Event
from fleet.dashboard.series import View
from fleet.dashboard.words import word
from fleet.rollouts.models import Command, Transition
from fleet.sentences import said, said_name

#: Kinds of marks, as people call them, in the order of their switches.
KINDS = {
    "deployment": gettext_lazy("Deployments"),
    "alert": gettext_lazy("Alerts"),
    "boot": gettext_lazy("Boots"),
    "command": gettext_lazy("Commands"),
    "change": gettext_lazy("Changes"),
}
#: Marks of one kind; of more the newest.
MOST = 40
BOOTS = ("device.connected", "device.booted")
#: Of an update its start and its end are marked.
_MARKED = sorted({State.DOWNLOADING, *DEPLOYMENT_ENDS} - {State.SKIPPED})


@dataclass(frozen=True, slots=True)
class Mark:
    """at in Unix milliseconds; tone one of ok, warn, bad, info, pending, offline."""

    at: int
    kind: str
    tone: str
    text: str
    url: str = ""


def marks(device_id: str, view: View) -> list[dict[str, object]]:
    """The oldest first; one query for each kind that has a table of its own."""
    inside = datetime.fromtimestamp(view.start, UTC), datetime.fromtimestamp(view.end, UTC)
    found = [mark for kind in (_deployments, _alerts, _commands, _events) for mark in kind(device_id, inside)]
    return [asdict(mark) for mark in sorted(found, key=lambda mark: mark.at)]


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _deployments(device_id: str, inside: tuple[datetime, datetime]) -> Iterator[Mark]:
    rows = Transition.objects.filter(deployment__device=device_id, at__range=inside, new__in=_MARKED)
    rows = rows.select_related("deployment__variant__version__model", "deployment__variant__trial")
    for row in rows.order_by("-id")[:MOST]:
        state, variant = word("deployment", row.new), row.deployment.variant
        name = f"{variant.version} {said(variant.trial.name)}" if variant else gettext("Deployment")
        url = reverse("rollouts.detail", args=(row.deployment.rollout_id,))
        yield Mark(_ms(row.at), "deployment", state.tone, f"{name}: {state.label.lower()}", url)


def _alerts(device_id: str, inside: tuple[datetime, datetime]) -> Iterator[Mark]:
    """Of an alert its opening and its end are marked."""
    rows = Alert.objects.filter(Q(opened_at__range=inside) | Q(recovered_at__range=inside), device=device_id)
    for alert in rows.exclude(stage=Stage.PENDING).order_by("-id")[:MOST]:
        url = f"{reverse('alerts')}?rule={alert.rule_id}" if alert.rule_id else ""
        name, tone = said_name(alert.name), word("severity", alert.severity).tone
        if inside[0] <= alert.opened_at <= inside[1]:
            yield Mark(_ms(alert.opened_at), "alert", tone, gettext("{alert}: open").format(alert=name), url)
        if alert.recovered_at and inside[0] <= alert.recovered_at <= inside[1]:
            yield Mark(_ms(alert.recovered_at), "alert", "ok", gettext("{alert}: over").format(alert=name), url)


def _commands(device_id: str, inside: tuple[datetime, datetime]) -> Iterator[Mark]:
    rows = Command.objects.filter(device=device_id, created_at__range=inside)
    for created, kind, state in rows.values_list("created_at", "kind", "state")[:MOST]:
        known = word("command", state)
        yield Mark(_ms(created), "command", known.tone, f"{said(kind)}: {known.label.lower()}")


def _events(device_id: str, inside: tuple[datetime, datetime]) -> Iterator[Mark]:
    rows = Event.objects.filter(device=device_id, at__range=inside, kind__startswith="device.")
    for at, kind, level, text in rows.values_list("at", "kind", "level", "text")[: 2 * MOST]:
        yield Mark(_ms(at), "boot" if kind in BOOTS else "change", word("level", level).tone, said(text))
