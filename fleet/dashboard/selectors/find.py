"""The palette: anything that has a name, by a few of its letters."""

import re
from dataclasses import asdict, dataclass

from django.db.models import Q
from django.urls import reverse

from fleet.catalog.models import Model
from fleet.dashboard.words import CLASS_LABELS, word
from fleet.devices.models import Device, Group
from fleet.rollouts.models import Rollout

EACH = 6


@dataclass(frozen=True, slots=True)
class Hit:
    label: str
    detail: str
    url: str


def find(query: str) -> list[dict[str, str]]:
    """Up to six devices, models, rollouts and groups each; four queries. Without a query: the newest rollouts."""
    return [asdict(hit) for hit in (*_devices(query), *_models(query), *_rollouts(query), *_groups(query))]


def _devices(query: str) -> list[Hit]:
    if not query:
        return []
    rows = Device.objects.filter(Q(name__icontains=query) | Q(id__icontains=query), retired_at=None).only(
        "id", "name", "device_class"
    )[:EACH]
    return [
        Hit(
            row.name,
            f"device, {CLASS_LABELS.get(row.device_class, row.device_class)}",
            reverse("devices.detail", args=(row.pk,)),
        )
        for row in rows
    ]


def _models(query: str) -> list[Hit]:
    rows = Model.objects.filter(name__icontains=query)[:EACH]
    return [Hit(row.name, "model", reverse("models.detail", args=(row.name,))) for row in rows]


def _rollouts(query: str) -> list[Hit]:
    wanted = Q(target__icontains=query) | Q(release__version__model__name__icontains=query)
    number = re.fullmatch(r"r?-?0*(\d{1,9})", query)
    if number:
        wanted |= Q(pk=int(number[1]))
    rows = Rollout.objects.filter(wanted).select_related("release__version__model")[:EACH]
    return [
        Hit(
            f"{row}: {row.release.version} to {row.target}",
            f"rollout, {word('rollout', row.state).label.lower()}",
            reverse("rollouts.detail", args=(row.pk,)),
        )
        for row in rows
    ]


def _groups(query: str) -> list[Hit]:
    rows = Group.objects.filter(name__icontains=query)[:EACH]
    return [Hit(row.name, "group", reverse("groups.detail", args=(row.name,))) for row in rows]
