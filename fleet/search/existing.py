"""Names of what there is, for the completion: tags, groups, models, variants, boards, devices. A few queries each."""

from collections.abc import Callable, Iterable

from django.db.models import Count, Q, QuerySet

from agent.wire import tags
from fleet.catalog.models import Model, ModelVersion, Trial
from fleet.devices.models import Device, Group, Tag
from fleet.search.completion import MOST, Offer, Place, fixed
from fleet.search.words import quoted


def offers(here: Place) -> list[Offer]:
    """At most twelve, the likeliest first; at most three queries."""
    if here.field is None:
        found = fixed(here)
        return (found + _named_anyhow(here.typed) if len(here.typed) >= 2 else found)[:MOST]
    look = _LOOKS.get(here.field.name)
    return (look(here.typed) if look else fixed(here))[:MOST]


def _named_anyhow(typed: str) -> list[Offer]:
    """A word that is no field may be a tag's value or a group's name."""
    rows = _counted(Tag.objects.filter(Q(value__startswith=typed.lower()) | Q(key__startswith=typed.lower())))
    groups = Group.objects.filter(name__startswith=typed.lower())[:4]
    found = [Offer(f"tag:{tags.written(key, value)}", _devices(n)) for key, value, n in rows[:4]]
    return found + [Offer(f"group:{group.name}", group.description or "group") for group in groups]


def _counted(rows: QuerySet[Tag]) -> QuerySet:
    return rows.values_list("key", "value").annotate(n=Count("pk")).order_by("-n", "key", "value")


def _devices(number: int) -> str:
    return f"{number:,} device{'' if number == 1 else 's'}"


def _tags(typed: str) -> list[Offer]:
    """Keys first; once there is an equals sign, the key's values."""
    key, equals, value = typed.lower().partition("=")
    if equals:
        rows = _counted(Tag.objects.filter(key=key, value__startswith=value))[:MOST]
        return [Offer(tags.written(*row[:2]), _devices(row[2])) for row in rows]
    rows = Tag.objects.filter(key__startswith=key).values_list("key")
    counted = rows.annotate(n=Count("pk"), valued=Count("pk", filter=~Q(value=""))).order_by("-n", "key")[:MOST]
    return [Offer(f"{key}=" if valued else key, _devices(n), bool(valued)) for key, n, valued in counted]


def _groups(typed: str) -> list[Offer]:
    rows = Group.objects.filter(name__contains=typed.lower())[:MOST]
    return [Offer(group.name, group.description or ("by its query" if group.dynamic else "")) for group in rows]


def _models(typed: str) -> list[Offer]:
    name, at, number = typed.lower().partition("@")
    if at:
        rows = ModelVersion.objects.filter(model__name=name).order_by("-number").values_list("number", "notes")
        found = [(n, notes) for n, notes in rows[:100] if str(n).startswith(number)]
        return [Offer(f"{name}@{n}", notes[:60]) for n, notes in found]
    rows = Model.objects.filter(name__contains=name).order_by("name")[:MOST]
    none = [Offer("none", "runs no model")] if "none".startswith(name) else []
    return [Offer(model.name, model.description[:60]) for model in rows] + none


def _texts(values: Iterable[str | None]) -> list[Offer]:
    return [Offer(quoted(value), "") for value in values if value]


def _names(typed: str) -> list[Offer]:
    return _texts(Device.objects.filter(name__icontains=typed, retired_at=None).values_list("name", flat=True)[:MOST])


def _variants(typed: str) -> list[Offer]:
    rows = Trial.objects.filter(variant__isnull=False, name__icontains=typed)
    return _texts(rows.order_by("name").values_list("name", flat=True).distinct()[:MOST])


def _reported(column: str) -> Callable[[str], list[Offer]]:
    def look(typed: str) -> list[Offer]:
        rows = Device.objects.filter((f"{column}__icontains", typed), retired_at=None)
        return _texts(rows.order_by(column).values_list(column, flat=True).distinct()[:MOST])

    return look


_LOOKS: dict[str, Callable[[str], list[Offer]]] = {
    "tag": _tags,
    "group": _groups,
    "model": _models,
    "variant": _variants,
    "name": _names,
    "agent": _reported("agent_version"),
    "board": _reported("hardware__board"),
    "platform": _reported("hardware__platform"),
}
