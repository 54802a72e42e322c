"""What every page's frame needs: the navigation with its counts, the current section, the viewer's role."""

from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import get_language, gettext

from fleet.accounts.roles import Role, role_of
from fleet.dashboard.figures import plural
from fleet.dashboard.forms.search import ViewForm
from fleet.dashboard.selectors.shell import Counts, counts


@dataclass(frozen=True, slots=True)
class Section:
    """One entry of the navigation. count is shown beside it; todo marks one that somebody should look at, and why."""

    name: str
    label: str
    icon: str
    count: int = 0
    todo: int = 0
    why: str = ""

    @property
    def key(self) -> str:
        """The letter that leads there after a `g`."""
        return KEYS.get(self.name, "")


KEYS = {
    **{"overview": "f", "devices": "d", "rollouts": "r", "models": "m", "groups": "g", "planner": "p", "jobs": "j"},
    **{"inference": "i", "events": "e", "enrollment": "n", "people": "o"},
    **{"alerts": "a", "compare": "c", "versions": "v"},
}


def _sections(counted: Counts, role: Role) -> dict[str, list[Section]]:
    administer = [
        Section(
            "enrollment",
            gettext("Enrollment"),
            "key",
            todo=counted.pending,
            why=gettext("{devices} to admit").format(devices=plural(counted.pending, "device")),
        )
    ]
    if role is Role.ADMIN:
        administer.append(Section("people", gettext("People"), "people"))
    return {
        gettext("Operate"): [
            Section("overview", gettext("Fleet"), "fleet"),
            Section("alerts", gettext("Alerts"), "bell", todo=counted.alerts, why=plural(counted.alerts, "open alert")),
            Section("devices", gettext("Devices"), "device", counted.devices),
            Section("rollouts", gettext("Rollouts"), "rollout", counted.rollouts),
            Section("models", gettext("Models"), "model", counted.models),
            Section("versions", gettext("Map of versions"), "spread"),
            Section("compare", gettext("Compare"), "compare"),
            Section("groups", gettext("Groups"), "group", counted.groups),
            Section("planner", gettext("Planner"), "plan"),
            Section("jobs", gettext("Jobs"), "job", counted.jobs),
            Section("inference", gettext("Server inference"), "up"),
            Section("events", gettext("Events"), "event"),
        ],
        gettext("Administer"): administer,
    }


#: The phone's bottom bar; the rest is behind `More`.
PHONE = ("overview", "devices", "rollouts", "models")


class Shell:
    """The frame of one page. Its one query runs when a template first asks for a count."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        user = getattr(request, "user", None)
        self.role = role_of(user) if user is not None else None
        match = getattr(request, "resolver_match", None)
        # A section's pages are named after it: `devices`, `devices.detail`.
        self.section = (match.url_name or "").partition(".")[0] if match else ""
        self.can_operate = self.role is not None and self.role >= Role.OPERATOR
        self.is_admin = self.role is Role.ADMIN
        self.promise_ms = settings.DECISION_PROMISE_MS
        self._counts: Counts | None = None

    @property
    def other_languages(self) -> list[tuple[str, str]]:
        """Those that the page is not in, each under its own name: who reads no word of this page finds theirs."""
        return [(code, name) for code, name in settings.LANGUAGES if code != get_language()]

    @property
    def counts(self) -> Counts:
        if self._counts is None:
            self._counts = counts()
        return self._counts

    @property
    def navigation(self) -> dict[str, list[Section]]:
        return _sections(self.counts, self.role) if self.role else {}

    @property
    def view_form(self) -> ViewForm:
        """Where the page is a form that came back, it is not what one would keep."""
        address = self._request.get_full_path() if self._request.method == "GET" else ""
        return ViewForm(initial={"address": address})

    @property
    def phone(self) -> list[Section]:
        return [section for part in self.navigation.values() for section in part if section.name in PHONE]

    @property
    def phone_more(self) -> list[Section]:
        return [section for part in self.navigation.values() for section in part if section.name not in PHONE]


def shell(request: HttpRequest) -> dict[str, object]:
    return {"shell": Shell(request)}
