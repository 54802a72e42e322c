"""Enrollment: the tokens that let devices in, and the devices that wait at the door."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count
from django.utils.translation import gettext, pgettext

from agent.wire import tags
from agent.wire.states import Admission
from fleet.dashboard import listing
from fleet.dashboard.words import Word
from fleet.devices.models import Device, EnrollmentToken


@dataclass(frozen=True, slots=True)
class TokenLine:
    """`refusal` says why nobody can enroll with it now; empty when one can."""

    pk: str
    name: str
    uses: int
    max_uses: int
    devices: int
    auto_accept: bool
    group: str
    tags: list[str]
    expires_at: datetime | None
    created_at: datetime
    created_by: str
    revoked: bool
    refusal: str

    @property
    def word(self) -> Word:
        if self.revoked:
            return Word(gettext("Revoked"), "offline", "x")
        if self.refusal:
            return Word(gettext("Used up") if self.uses >= self.max_uses else gettext("Ended"), "offline", "clock")
        return Word(pgettext("token", "Open"), "ok", "ok")


@dataclass(frozen=True, slots=True)
class TokenList:
    rows: list[TokenLine]
    pager: listing.Pager
    state: listing.State


def tokens(params: Mapping[str, str], now: datetime) -> TokenList:
    """Newest first; two queries."""
    rows = EnrollmentToken.objects.all()
    pager = listing.pager(params, rows.count(), 50)
    found = (
        rows.select_related("group", "created_by")
        .annotate(n=Count("device"))
        .order_by("-created_at")[pager.start : pager.end]
    )
    lines = [
        TokenLine(
            pk=row.pk,
            name=row.name,
            uses=row.uses,
            max_uses=row.max_uses,
            devices=row.n,
            auto_accept=row.auto_accept,
            group=row.group.name if row.group else "",
            tags=[tags.written(*each) for each in row.tags.items()],
            expires_at=row.expires_at,
            created_at=row.created_at,
            created_by=row.created_by.username if row.created_by else "",
            revoked=row.revoked_at is not None,
            refusal=row.refusal(now),
        )
        for row in found
    ]
    return TokenList(lines, pager, listing.State({"page": str(pager.number) if pager.number > 1 else ""}))


def waiting(count: int = 100) -> list[Device]:
    """Devices that somebody has to accept or reject, the longest waiting first."""
    rows = Device.objects.filter(admission=Admission.PENDING, retired_at=None).select_related("token")
    return list(rows.order_by("created_at")[:count])


@dataclass(frozen=True, slots=True)
class Address:
    """Where devices find the broker; `local_only` when nothing outside this computer can reach it."""

    url: str
    local_only: bool


def broker_address(host: str, settings) -> Address:
    """The broker as devices name it: an external one by its own name, one of ours by this server's."""
    tls = settings.MQTT_TLS
    if settings.MQTT_BROKER == "external":
        name, local = settings.MQTT_HOST, False
    else:
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        local = settings.MQTT_BIND in {"127.0.0.1", "::1", "localhost"}
        name = settings.MQTT_BIND if local else name
    return Address(f"{'mqtts' if tls else 'mqtt'}://{name}:{settings.MQTT_PORT}", local)
