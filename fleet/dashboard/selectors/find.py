"""The palette: anything that has a name, by a few of its letters."""

import re
from dataclasses import asdict, dataclass

from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext

from fleet.catalog.models import Model
from fleet.dashboard.words import class_label, word
from fleet.devices.models import Device, Group
from fleet.rollouts.models import Rollout
from fleet.search.services import views_for

EACH = 6


@dataclass(frozen=True, slots=True)
class Hit:
    label: str
    detail: str
    url: str


def find(query: str, user) -> list[dict[str, str]]:
    """Up to six saved views, devices, models, rollouts and groups each; five queries.

    Without a query: views, models, the newest rollouts, groups.
    """
    hits = (*_views(query, user), *_devices(query), *_models(query), *_rollouts(query), *_groups(query))
    return [asdict(hit) for hit in hits]


def _views(query: str, user) -> list[Hit]:
    rows = views_for(user).filter(name__icontains=query)[:EACH]
    return [
        Hit(
            row.name,
            gettext("saved view")
            if row.owner_id == user.pk
            else gettext("view, shared by {owner}").format(owner=row.owner.username),
            row.address,
        )
        for row in rows
    ]


def _devices(query: str) -> list[Hit]:
    if not query:
        return []
    rows = Device.objects.filter(Q(name__icontains=query) | Q(id__icontains=query), retired_at=None).only(
        "id", "name", "device_class"
    )[:EACH]
    return [
        Hit(
            row.name,
            gettext("device, {device_class}").format(device_class=class_label(row.device_class)),
            reverse("devices.detail", args=(row.pk,)),
        )
        for row in rows
    ]


def _models(query: str) -> list[Hit]:
    rows = Model.objects.filter(name__icontains=query)[:EACH]
    return [Hit(row.name, gettext("model"), reverse("models.detail", args=(row.name,))) for row in rows]


def _rollouts(query: str) -> list[Hit]:
    wanted = Q(target__icontains=query) | Q(release__version__model__name__icontains=query)
    number = re.fullmatch(r"r?-?0*(\d{1,9})", query)
    if number:
        wanted |= Q(pk=int(number[1]))
    rows = Rollout.objects.filter(wanted).select_related("release__version__model")[:EACH]
    return [
        Hit(
            gettext("{rollout}: {version} to {target}").format(
                rollout=row, version=row.release.version, target=row.target
            ),
            gettext("rollout, {state}").format(state=word("rollout", row.state).label.lower()),
            reverse("rollouts.detail", args=(row.pk,)),
        )
        for row in rows
    ]


def _groups(query: str) -> list[Hit]:
    rows = Group.objects.filter(name__icontains=query)[:EACH]
    return [Hit(row.name, gettext("group"), reverse("groups.detail", args=(row.name,))) for row in rows]
