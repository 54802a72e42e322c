"""Budgets: what fits is decided before a byte is fetched (`agent.wire.fit`); what is done when one is pressed. Pure.

A budget is pressed when its load, a mean of some seconds, is above `Rule.take` of it, and eased below `Rule.ease`;
between the two nothing changes. While one is pressed, each `settle` seconds the next of its steps is taken that is
possible and not in force yet. A step is undone, the newest first, once every budget that it helps has been eased for as
long as the step's patience, which doubles when an undone step had to be taken again soon.

Two steps have a level between all and nothing: the control loop's rate, and the share of the time in which other
programs are answered. What a device uses is `a + b * level`, with `a` not negative, so `level * aim / load` never ends
above the aim: the level closes in on the budget from above, and does not swing around it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from agent.wire.fit import Room, memory_budget
from agent.wire.hardware import Hardware
from agent.wire.messages import Restraint

Name = Literal["memory", "cpu", "power", "temperature"]
Step = Literal["drop_caches", "fewer_threads", "lower_rate", "smaller_variant", "refuse"]


@dataclass(frozen=True, slots=True)
class Budget(Room):
    """What a model may use: bytes of memory, bytes of storage that are free now, threads of a decision."""

    memory: int
    storage: int
    threads: int


def budget(hardware: Hardware, free_storage: int, threads: int = 0, memory: int = 0) -> Budget:
    """threads 0 takes the whole cores there are; more threads than cores only wait for each other.

    memory is the operator's own budget in bytes; 0: none.
    """
    cores = max(1, math.floor(hardware.cores))
    allowed = memory_budget(hardware.memory_bytes, memory)
    return Budget(allowed, free_storage, min(threads, cores) if threads else cores)


@dataclass(frozen=True, slots=True)
class Load:
    """How much of a budget is used, both in the budget's unit; source is that of a power."""

    used: float
    limit: float
    source: Literal["", "measured", "estimated"] = ""

    @property
    def share(self) -> float:
        return self.used / self.limit


@dataclass(frozen=True, slots=True)
class Rule:
    """Shares of a budget, seconds for a step to show its effect, and the steps that help, in the order of taking.

    Without the cache more is computed, so only memory is helped by dropping it; and no rate helps memory.
    """

    take: float
    ease: float
    settle: float
    steps: tuple[Step, ...]

    @property
    def aim(self) -> float:
        return (self.take + self.ease) / 2


_SLOWER: tuple[Step, ...] = ("fewer_threads", "lower_rate", "smaller_variant", "refuse")
RULES: dict[Name, Rule] = {
    # Memory that is gone does not come back by waiting: the agent acts before it is.
    "memory": Rule(0.9, 0.75, 6.0, ("drop_caches", "fewer_threads", "smaller_variant", "refuse")),
    "cpu": Rule(1.0, 0.9, 10.0, _SLOWER),
    "power": Rule(1.0, 0.9, 10.0, _SLOWER),
    # Heat follows its cause by a minute or so.
    "temperature": Rule(1.0, 0.95, 45.0, _SLOWER),
}
#: The least that is left of the rate, and of the time in which other programs are answered.
FLOORS: dict[Step, float] = {"lower_rate": 0.1, "refuse": 0.02}
#: How far a level goes in one step, down and up, and where it waits for the step to be undone.
HALVED, RAISED, NEARLY_ALL = 0.5, 1.5, 0.95
#: Seconds that a budget must be eased before a step is undone: at first, and at most.
PATIENCE, LONGEST = 30.0, 1800.0
#: A step that is taken again this soon after it was undone was undone too early.
RELAPSE = 600.0


@dataclass(frozen=True, slots=True)
class Can:
    """What could still be done: a cache to drop, threads of a decision, a loop that acts, other programs to refuse."""

    cache: bool = False
    threads: int = 1
    rate: bool = False
    model: bool = False
    refuse: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """The restraints in force, the oldest first, and what keeps them from flapping; times are of a steady clock."""

    restraints: tuple[Restraint, ...] = ()
    changed: float = -math.inf
    eased: Mapping[str, float] = field(default_factory=dict)
    undone: Mapping[str, float] = field(default_factory=dict)
    patience: Mapping[str, float] = field(default_factory=dict)

    def level(self, step: Step, otherwise: float) -> float:
        """What the step has left; `otherwise` when it is not in force."""
        return next((each.level for each in self.restraints if each.step == step), otherwise)

    def has(self, step: Step) -> bool:
        return any(each.step == step for each in self.restraints)


def decide(standing: Standing, loads: Mapping[Name, Load], can: Can, now: float, at: float) -> Standing:
    """The next standing, at most one step away. now is a steady clock, at the time of day; loads has budgets only."""
    standing = replace(standing, eased=_eased(standing, loads, now))
    gone = next((each for each in reversed(standing.restraints) if each.budget not in loads), None)
    if gone is not None:
        return _undo(standing, gone, now)
    pressed = sorted(
        (name for name, load in loads.items() if load.share > RULES[name].take),
        key=lambda name: loads[name].share,
        reverse=True,
    )
    for name in pressed:
        taken = _next(standing, name, loads[name], can, at)
        if taken is not None and now - standing.changed >= RULES[name].settle:
            return _take(standing, taken, now)
    for restraint in reversed(standing.restraints):
        since = standing.eased.get(restraint.step)
        if since is None:
            continue
        raised = _raised(restraint, loads)
        settled = now - standing.changed >= RULES[restraint.budget].settle
        if raised > restraint.level and settled:
            return _put(standing, msgspec.structs.replace(restraint, level=raised), now)
        if now - since >= standing.patience.get(restraint.step, PATIENCE) and settled:
            return _undo(standing, restraint, now)
    return standing


def _eased(standing: Standing, loads: Mapping[Name, Load], now: float) -> Mapping[str, float]:
    """Since when every budget that a step in force helps is eased."""
    return {
        each.step: standing.eased.get(each.step, now)
        for each in standing.restraints
        if all(load.share < RULES[name].ease for name, load in loads.items() if each.step in RULES[name].steps)
    }


def _next(standing: Standing, name: Name, load: Load, can: Can, at: float) -> Restraint | None:
    """The next step that helps this budget, or one that goes further than it does now; None when all is done."""
    for step, level in _levels(standing, name, load, can):
        since = next((each.since for each in standing.restraints if each.step == step), at)
        return Restraint(
            step=step,
            budget=name,
            since=since,
            used=round(load.used, 3),
            limit=load.limit,
            level=level,
            source=load.source,
        )
    return None


def _levels(standing: Standing, name: Name, load: Load, can: Can) -> Iterator[tuple[Step, float]]:
    """Each step that is still open to this budget, with the level that it would go to."""
    for step in RULES[name].steps:
        match step:
            case "drop_caches":
                if can.cache and not standing.has(step):
                    yield step, 0
            case "fewer_threads":
                threads = standing.level(step, can.threads)
                if min(threads, can.threads) > 1:
                    yield step, min(threads, can.threads) // 2
            case "smaller_variant":
                if can.model and not standing.has(step):
                    yield step, 0
            case "lower_rate" | "refuse":
                level = standing.level(step, 1.0)
                # Memory is not a matter of how often: what could take more of it is refused altogether.
                lower = 0.0 if name == "memory" else _lowered(step, level, RULES[name].aim / load.share)
                if (can.rate if step == "lower_rate" else can.refuse) and lower < level:
                    yield step, lower


def _lowered(step: Step, level: float, factor: float) -> float:
    return round(max(FLOORS[step], level * max(HALVED, factor)), 3)


def _raised(restraint: Restraint, loads: Mapping[Name, Load]) -> float:
    """The level to which an eased step may go back by itself; the same one when it has none."""
    if restraint.step not in FLOORS or not restraint.level:
        return restraint.level
    factors = [
        RULES[name].aim / load.share if load.share > 0 else RAISED
        for name, load in loads.items()
        if restraint.step in RULES[name].steps
    ]
    return round(min(NEARLY_ALL, restraint.level * min(RAISED, *factors)), 3)


def _take(standing: Standing, restraint: Restraint, now: float) -> Standing:
    step, patience = restraint.step, dict(standing.patience)
    if not standing.has(step):
        soon = now - standing.undone.get(step, -math.inf) < RELAPSE
        patience[step] = min(LONGEST, 2 * patience.get(step, PATIENCE)) if soon else PATIENCE
    return _put(replace(standing, patience=patience), restraint, now)


def _put(standing: Standing, restraint: Restraint, now: float) -> Standing:
    """In the place of the same step, or as the newest."""
    kept = tuple(restraint if each.step == restraint.step else each for each in standing.restraints)
    restraints = kept if standing.has(restraint.step) else (*kept, restraint)
    return replace(standing, restraints=restraints, changed=now)


def _undo(standing: Standing, restraint: Restraint, now: float) -> Standing:
    return replace(
        standing,
        restraints=tuple(each for each in standing.restraints if each.step != restraint.step),
        changed=now,
        undone={**standing.undone, restraint.step: now},
    )
