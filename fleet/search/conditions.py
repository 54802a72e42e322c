"""A search as a condition on devices.

Whatever lies in another table is asked for by a subquery on the device's key and never by a join: two tags of one
search are two rows, `-` means that there is no such row, and no device is found twice.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from django.db.models import Exists, F, OuterRef, Q, QuerySet, Value
from django.utils import timezone

from agent.wire import tags
from agent.wire.states import DEPLOYMENT_BAD, DEPLOYMENT_OPEN, Admission
from agent.wire.states import Deployment as State
from fleet.catalog.models import Variant
from fleet.devices import liveness
from fleet.devices.models import Device, Group, Tag
from fleet.rollouts.models import Deployment
from fleet.search.errors import SearchError, place
from fleet.search.fields import IS
from fleet.search.language import parse
from fleet.search.tree import And, Condition, Node, Not, Or, asks, leaves
from fleet.search.words import nearest

_ORDER = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte", ":": "exact", "=": "exact"}
_WAITING = (State.QUEUED, State.NOTIFIED)


def matching(text: str, now: datetime | None = None) -> QuerySet[Device]:
    """The devices that a search finds; retired ones only when it says so. Raises SearchError."""
    return Device.objects.filter(condition(parse(text), now or timezone.now()))


def condition(tree: Node | None, now: datetime, groups: Mapping[str, Group] | None = None) -> Q:
    """Two queries at most when the search names groups and those are not given, none else.

    groups are those that a search may name, by name. Raises SearchError for a group that there is not.
    """
    if tree is None:
        return Q(retired_at=None)
    if groups is None:
        groups = named(tree)
    _all_there(tree, groups)
    found = _Compiler(now, groups).of(tree)
    return found if asks(tree, IS, "retired") else Q(retired_at=None) & found


def names_in(tree: Node | None) -> dict[str, Condition]:
    """The groups that a search names."""
    return {str(leaf.value).lower(): leaf for leaf in leaves(tree) if leaf.field.name == "group"}


def named(tree: Node) -> dict[str, Group]:
    """Those groups, and those that their queries name; by name."""
    asked = names_in(tree)
    found = {group.name: group for group in Group.objects.filter(name__in=asked)} if asked else {}
    inner: set[str] = set()
    for group in found.values():
        inner |= set(names_in(parse(group.query)))
    if inner - set(found):
        found |= {group.name: group for group in Group.objects.filter(name__in=inner)}
    return found


def _all_there(tree: Node, groups: Mapping[str, Group]) -> None:
    for name, leaf in names_in(tree).items():
        if name not in groups:
            near = nearest(name, list(Group.objects.values_list("name", flat=True)[:1000]))
            hint = f"; the nearest is {near}" if near else ""
            at = leaf.end - leaf.written
            raise SearchError(f"There is no group “{leaf.value}” ({place(at)}){hint}.", at, leaf.written, near)


class _Compiler:
    """One search at one moment."""

    def __init__(self, now: datetime, groups: Mapping[str, Group]) -> None:
        self.now = now
        self.groups = groups

    def of(self, node: Node) -> Q:
        match node:
            case Not(inner):
                return ~self.of(inner)
            case And(parts):
                found = Q()
                for part in parts:
                    found &= self.of(part)
                return found
            case Or(parts):
                found = Q()
                for part in parts:
                    found |= self.of(part)
                return found
            case Condition():
                return self._leaf(node)

    def _leaf(self, leaf: Condition) -> Q:
        if leaf.field is IS:
            return _STATES[str(leaf.value)](self.now)
        if leaf.field.name == "group":
            return self._group(self.groups[str(leaf.value).lower()])
        if leaf.field.name in ("seen", "enrolled"):
            return self._age({"seen": "last_seen", "enrolled": "created_at"}[leaf.field.name], leaf)
        if leaf.field.measure:
            return _measured(leaf)
        return _TEXTS[leaf.field.name](str(leaf.value), leaf.operator)

    def _group(self, group: Group) -> Q:
        if not group.dynamic:
            return Q(pk__in=Group.devices.through.objects.filter(group=group).values("device_id"))
        # A dynamic group's own query names static groups only: this goes one level down, and never round.
        return condition(parse(group.query), self.now, self.groups)

    def _age(self, column: str, leaf: Condition) -> Q:
        then = self.now - timedelta(seconds=float(leaf.value))
        turned = {"<": "gt", "<=": "gte", ">": "lt", ">=": "lte"}  # longer ago is an earlier time
        return Q((f"{column}__{turned[leaf.operator]}", then))


# --- States ---------------------------------------------------------------------------------------------------------


def _live(word: liveness.Liveness) -> Callable[[datetime], Q]:
    return lambda now: liveness.query(word, now)


def _admitted(word: Admission) -> Callable[[datetime], Q]:
    return lambda now: Q(admission=word)


def _deployed(**wanted: object) -> Callable[[datetime], Q]:
    return lambda now: Q(pk__in=Deployment.objects.filter(**wanted).values("device_id"))


def newest_deployment(*states: State) -> Q:
    """The newest of its deployments, but for those that were skipped, is in one of these states."""
    later = Deployment.objects.filter(device=OuterRef("device"), created_at__gt=OuterRef("created_at"))
    found = Deployment.objects.filter(~Exists(later.exclude(state=State.SKIPPED)), state__in=sorted(states))
    return Q(pk__in=found.values("device_id"))


_STATES: dict[str, Callable[[datetime], Q]] = {
    **{word.value: _live(word) for word in liveness.Liveness},
    **{word.value: _admitted(word) for word in Admission},
    "updating": _deployed(state__in=sorted(DEPLOYMENT_OPEN - set(_WAITING))),
    "waiting": _deployed(state__in=sorted(_WAITING)),
    "failing": lambda now: newest_deployment(*DEPLOYMENT_BAD),
    "retired": lambda now: Q(retired_at__isnull=False),
    "idle": lambda now: Q(idle=True),
    "busy": lambda now: Q(idle=False),
    "restrained": lambda now: ~Q(restraints=[]),
    "simulated": lambda now: Q(simulated=True),
    "real": lambda now: Q(simulated=False),
}


# --- Text -----------------------------------------------------------------------------------------------------------


def _text(column: str) -> Callable[[str, str], Q]:
    return lambda value, operator: Q((f"{column}__{'iexact' if operator == '=' else 'icontains'}", value))


def _reported(column: str) -> Callable[[str, str], Q]:
    """The same of what a device may not have reported: `-` then finds those that have not."""
    return lambda value, operator: Q(hardware__has_key=column) & _text(f"hardware__{column}")(value, operator)


def _name_or_id(value: str, operator: str) -> Q:
    return _text("name")(value, operator) | _text("id")(value, operator)


def _tag(value: str, operator: str) -> Q:
    key, given = tags.parse(value)
    rows = Tag.objects.filter(key=key, value=given) if "=" in value else Tag.objects.filter(key=key)
    return Q(pk__in=rows.values("device_id"))


def _model(value: str, operator: str) -> Q:
    if value.lower() == "none":
        return Q(active_manifest="")
    name, _, number = value.partition("@")
    variants = Variant.objects.filter(version__model__name=name.lower())
    if number:
        variants = variants.filter(version__number=int(number))
    return Q(active_manifest__in=variants.values("manifest_digest"))


def _variant(value: str, operator: str) -> Q:
    lookup = "trial__name__iexact" if operator == "=" else "trial__name__icontains"
    return Q(active_manifest__in=Variant.objects.filter((lookup, value)).values("manifest_digest"))


_TEXTS: dict[str, Callable[[str, str], Q]] = {
    "": _name_or_id,
    "tag": _tag,
    "class": lambda value, operator: Q(device_class=value),
    "model": _model,
    "variant": _variant,
    "name": _text("name"),
    "id": _text("id"),
    "mode": lambda value, operator: Q(mode=value),
    "agent": _text("agent_version"),
    "board": _reported("board"),
    "platform": _reported("platform"),
    "accelerator": _reported("accelerators"),
}


# --- Measures -------------------------------------------------------------------------------------------------------

_COLUMNS = {
    "free": "storage_free",
    "latency": "latency_p95",
    "cpu": "cpu_percent",
    "temperature": "temperature",
    "power": "power",
    "errors": "errors",
}
_HARDWARE = {"memory": "memory_bytes", "storage": "storage_bytes", "cores": "cores"}
#: Shares are compared by multiplying out, so that nothing is divided by 0: part, whole.
_SHARES = {"used": ("memory_used", "memory_total"), "success": ("successes", "episodes")}


def _measured(leaf: Condition) -> Q:
    """What was never reported is neither less nor more than anything."""
    name, lookup, value = leaf.field.name, _ORDER[leaf.operator], float(leaf.value)
    if name in _SHARES:
        part, whole = _SHARES[name]
        return Q((f"{whole}__gt", 0)) & Q((f"{part}__{lookup}", F(whole) * Value(value / 100)))
    if name in _HARDWARE:
        key = _HARDWARE[name]
        return Q(hardware__has_key=key) & Q((f"hardware__{key}__{lookup}", int(value) if value.is_integer() else value))
    return Q((f"{_COLUMNS[name]}__{lookup}", value))
