"""What every page's frame needs: the navigation with its counts, the current section, the viewer's role."""

from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from fleet.accounts.roles import Role, role_of
from fleet.dashboard.selectors.shell import Counts, counts


@dataclass(frozen=True, slots=True)
class Section:
    """One entry of the navigation. count is shown beside it; todo marks one that somebody should look at."""

    name: str
    label: str
    icon: str
    count: int = 0
    todo: int = 0


def _sections(counted: Counts, role: Role) -> dict[str, list[Section]]:
    administer = [Section("enrollment", "Enrollment", "key", todo=counted.pending)]
    if role is Role.ADMIN:
        administer.append(Section("people", "People", "people"))
    return {
        "Operate": [
            Section("overview", "Fleet", "fleet"),
            Section("devices", "Devices", "device", counted.devices),
            Section("rollouts", "Rollouts", "rollout", counted.rollouts),
            Section("models", "Models", "model", counted.models),
            Section("groups", "Groups", "group", counted.groups),
            Section("jobs", "Jobs", "job", counted.jobs),
            Section("events", "Events", "event"),
        ],
        "Administer": administer,
    }


#: The phone's bottom bar; the rest is behind `More`.
PHONE = ("overview", "devices", "rollouts", "models")


class Shell:
    """The frame of one page. Its one query runs when a template first asks for a count."""

    def __init__(self, request: HttpRequest) -> None:
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
    def counts(self) -> Counts:
        if self._counts is None:
            self._counts = counts()
        return self._counts

    @property
    def navigation(self) -> dict[str, list[Section]]:
        return _sections(self.counts, self.role) if self.role else {}

    @property
    def phone(self) -> list[Section]:
        return [section for part in self.navigation.values() for section in part if section.name in PHONE]

    @property
    def phone_more(self) -> list[Section]:
        return [section for part in self.navigation.values() for section in part if section.name not in PHONE]


def shell(request: HttpRequest) -> dict[str, object]:
    return {"shell": SimpleLazyObject(lambda: Shell(request))}
