"""What would have to change for a mode to fit: for each thing that fails, the nearest number that holds. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from agent.wire.fit import MEMORY_SHARE, STORAGE_RESERVE
from fleet.planner.fields import FIELDS, rounded
from fleet.planner.formulas import added, bandwidth
from fleet.planner.modes import SENT, Check, Placement
from fleet.planner.plan import LEAST_PART, plan, room, whole_model
from fleet.planner.situation import Situation

#: Fields of which less is wanted; of all others more.
LESS = frozenset({"compute_ms", "slim_ms", "observation"})

#: How often what was found is tried again.
MOST_TRIES = 4


@dataclass(frozen=True, slots=True)
class Remedy:
    """The field and what it would have to be, at least or at most. A value of None: anything above none at all."""

    field: str
    value: float | None

    @property
    def less(self) -> bool:
        return self.field in LESS


def remedies(given: Situation, placement: Placement) -> list[Remedy] | None:
    """All of them together make the mode fit, as far as is known. None: no numbers that one could type would.

    One change can bring about another: with more memory a larger part stays on the device, and takes longer there. So
    what was found is tried, and what fails then is mended too.
    """
    wanted: list[Remedy] = []
    for _ in range(MOST_TRIES):
        if placement.fits is not False:
            return wanted
        more = _first(changed(given, wanted), placement)
        if more is None:
            return None
        wanted = list({remedy.field: remedy for remedy in (*wanted, *more)}.values())
        placement = plan(changed(given, wanted)).of(placement.mode)
    return wanted if placement.fits is not False else None


def changed(given: Situation, wanted: list[Remedy]) -> Situation:
    """The situation with all of it changed; a network of unknown width is one that is not known."""
    values: dict[str, Any] = {remedy.field: remedy.value for remedy in wanted}
    return replace(given, **values)


def _first(given: Situation, placement: Placement) -> list[Remedy] | None:
    """For each check that fails; of two for one field the one that asks for more. None where one has none."""
    found: dict[str, Remedy] = {}
    for check in placement.failed:
        made = list(_for(given, placement, check))
        if not made:
            return None
        for remedy in made:
            before = found.get(remedy.field)
            if before is None or before.value is None or (remedy.value and remedy.value > before.value) != remedy.less:
                found[remedy.field] = remedy
    asked = [Remedy(name, _asked(name, remedy.value)) for name, remedy in found.items()]
    return None if any(not _possible(remedy) for remedy in asked) else asked


def _possible(remedy: Remedy) -> bool:
    field = FIELDS[remedy.field]
    return remedy.value is None or field.low * field.factor <= remedy.value <= field.high * field.factor


def _asked(name: str, value: float | None) -> float | None:
    return None if value is None else rounded(FIELDS[name], value, up=name not in LESS)


def _for(given: Situation, placement: Placement, check: Check) -> Iterator[Remedy]:
    need = check.need or 0.0
    if check.name == "memory":
        yield Remedy("memory", ceil(need / MEMORY_SHARE) + 1)
    elif check.name == "storage":
        yield Remedy("storage", need + STORAGE_RESERVE)
    elif check.name in ("cores", "tflops"):
        yield Remedy(check.name, need)
    elif check.name == "part":
        yield from _for_part(given)
    elif check.name == "bandwidth":
        yield from _for_bandwidth(given, placement, need)
    else:
        yield from _for_latency(given, placement)


def _for_part(given: Situation) -> Iterator[Remedy]:
    """Room for the least part that can stay on the device."""
    for short in room(given, whole_model(given)):
        if short.need and short.have is not None and LEAST_PART * short.need > short.have:
            least = LEAST_PART * short.need
            more = {"memory": ceil(least / MEMORY_SHARE) + 1.0, "storage": least + STORAGE_RESERVE}
            yield Remedy(short.name, more.get(short.name, least))


def _for_bandwidth(given: Situation, placement: Placement, rate: float) -> Iterator[Remedy]:
    """A wider link where the link is the limit, else smaller observations; where those are not it, a higher limit."""
    limit = given.bandwidth_limit
    if given.link is not None and rate > given.link:
        yield Remedy("link", rate)
    if limit is None or rate <= limit:
        return
    share = SENT.get(placement.mode, given.sent)
    period = given.answer_s if given.answer_s is not None else given.observation_s
    beside = added(bandwidth(given.answer, period))
    if share and given.observation_s and beside is not None:
        left = ((limit - (given.telemetry or 0.0)) / share - beside) * given.observation_s
        if left > 0:
            yield Remedy("observation", left)
            return
    yield Remedy("bandwidth_limit", rate)


def _for_latency(given: Situation, placement: Placement) -> list[Remedy]:
    """Each way that is too long has to become short enough; empty where one of them cannot."""
    share = SENT.get(placement.mode, given.sent)
    ways = [*([_here(given, placement)] if share < 1 else []), *([_there(given)] if share > 0 else [])]
    return [] if None in ways else [remedy for way in ways if way for remedy in way]


def _here(given: Situation, placement: Placement) -> list[Remedy] | None:
    """Faster computing on the device: in what waiting and the rest leave of the limit."""
    local, other = placement.local, given.other_ms
    here = added(local.compute_ms, other) if local else None
    if local is None or here is None or other is None or here <= given.latency_limit:
        return []
    left = given.latency_limit - other
    return [Remedy(local.asks[1], left)] if left > 0 and local.part == 1 else None


def _there(given: Situation) -> list[Remedy] | None:
    """A wider link to the server, where what remains without the transmission leaves room."""
    rest = added(given.server_ms, given.network_ms, given.server_other_ms)
    size = added(given.observation, given.answer)
    if rest is None or size is None:
        return [Remedy("link", None)] if given.link == 0 else []
    if given.link and rest + 1000 * size / given.link <= given.latency_limit:
        return []
    if given.latency_limit <= rest:
        return None
    return [Remedy("link", 1000 * size / (given.latency_limit - rest) if size else None)]
