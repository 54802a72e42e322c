"""A plan in sentences: which mode fits and why, which does not and by how much, and what would have to change. Pure."""

from collections.abc import Collection
from math import isinf

from agent.wire.fit import MEMORY_SHARE
from fleet.planner.fields import FIELDS
from fleet.planner.filling import Filled
from fleet.planner.formulas import change
from fleet.planner.modes import Check, Mode, Placement, Plan
from fleet.planner.plan import plan as plan_of
from fleet.planner.remedies import Remedy, changed, remedies
from fleet.planner.situation import Situation
from fleet.units import NBSP, capacity, digits, file_size, rate_words

WHAT = {
    Mode.FULL: "The model on the device, with all its threads and its cache.",
    Mode.SLIM: "A smaller variant on the device, on one thread, without cache and history.",
    Mode.HYBRID: "What fits decides on the device and leaves a share of the decisions to the server.",
    Mode.CLOUD: "The device sends every observation, and the server decides.",
}


def time(value: float | None) -> str:
    if value is None:
        return "an unknown time"
    return "for ever" if isinf(value) else f"{digits(value)}{NBSP}ms"


def size(value: float) -> str:
    """Memory and storage."""
    return NBSP.join(capacity(value))


def file(value: float) -> str:
    """What is sent."""
    return NBSP.join(file_size(value))


def percent(share: float, places: int = 0) -> str:
    return f"{share * 100:,.{places}f}{NBSP}%"


def listed(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


def headline(plan: Plan) -> str:
    """The verdict in a few words."""
    name = plan.chosen.mode.capitalize()
    if plan.certain:
        return f"{name} fits."
    if plan.certain is None:
        return f"{name} may fit, as far as is known."
    return f"Nothing fits. {name} comes nearest."


def why(plan: Plan) -> str:
    """The sentences that follow the headline."""
    chosen, given = plan.chosen, plan.situation
    if plan.certain is False:
        return " ".join([*reasons(given, chosen), would_fit(given, chosen)])
    said = [_beside(given, chosen, check) for check in chosen.checks]
    if plan.certain is None:
        return " ".join([*filter(None, said), unknown(chosen)])
    return " ".join([*filter(None, said), _least(plan)]).strip()


def _least(plan: Plan) -> str:
    others = [each for each in plan.modes if each.fits and each is not plan.chosen]
    mine = plan.chosen.objective
    if not others or mine is None:
        return ""
    values = ", ".join(f"{each.mode} {each.objective:.3f}" for each in others if each.objective is not None)
    equal = any(each.objective == mine for each in others)
    tie = " Of equals the one is chosen that keeps more on the device." if equal else ""
    return f"Of the {len(others) + 1} that fit it has the least objective, {mine:.3f} ({values}).{tie}"


def compared(plan: Plan) -> str:
    """The chosen mode's latency beside the cloud's; empty where one of them is not known."""
    mine, theirs = plan.chosen.latency.total, plan.of(Mode.CLOUD).latency.total
    if plan.chosen.mode is Mode.CLOUD or not mine or not theirs or isinf(mine) or isinf(theirs):
        return ""
    moved = change(mine, theirs)
    sign = "\N{MINUS SIGN}" if moved < 0 else "+"
    both = f"{time(mine)} in {plan.chosen.mode} and {time(theirs)} in the cloud"
    return f"A decision takes {both}: {sign}{percent(abs(moved))}."


def reasons(given: Situation, placement: Placement) -> list[str]:
    """Why a mode does not fit: one sentence for each check that fails, with what is too much."""
    # Where there is no network, it goes without saying that the stream is too wide for it.
    said = [check for check in placement.failed if check.name != "bandwidth" or given.link != 0]
    return [_failure(given, placement, check) for check in said]


def _failure(given: Situation, placement: Placement, check: Check) -> str:
    need, have = check.need or 0.0, check.have or 0.0
    if check.name == "memory":
        whole = f"{percent(MEMORY_SHARE)} of {size(given.memory or 0)}"
        return (
            f"It needs {size(need)} of memory; a model may take {size(have)} ({whole}): {size(need - have)} too much."
        )
    if check.name == "storage":
        free = f"{size(given.storage or 0)} are free, of which 32{NBSP}MiB stay free"
        return f"An update writes {size(need)}; {free}: {size(need - have)} too much."
    if check.name == "cores":
        return f"It needs {digits(need)} cores; there are {digits(have)}."
    if check.name == "tflops":
        return f"It needs {digits(need)} TFLOPS; there are {digits(have)}."
    if check.name == "part":
        return f"The device has room for {percent(have, 1)} of the model; recipes leave {percent(need)} at the least."
    if check.name == "bandwidth":
        return _too_wide(given, need, have)
    if given.link == 0 and isinf(need):
        return "It needs a network, and there is none."
    way = " that is sent" if placement.mode is Mode.HYBRID and need > (placement.latency.total or need) else ""
    too = f": {time(need - have)} too long" if not isinf(need) else ""
    return f"A decision{way} takes {time(need)}; {time(have)} are allowed{too}."


def _too_wide(given: Situation, need: float, have: float) -> str:
    chosen = have == given.bandwidth_limit
    return (
        f"It sends and gets {rate_words(need)}; {rate_words(have)} "
        f"{'are allowed' if chosen else 'is what the link carries'}."
    )


def _beside(given: Situation, placement: Placement, check: Check) -> str:
    """What holds, in a sentence; empty for what goes without saying."""
    if check.need is None or check.have is None:
        return ""
    if check.name == "latency":
        most = placement.mode is Mode.HYBRID
        return f"A decision takes {'at most ' if most else ''}{time(check.need)} of the {time(check.have)} allowed."
    if check.name == "memory":
        return f"The model takes {size(check.need)} of the {size(check.have)} of memory that it may."
    if check.name == "part":
        return (
            f"The device has room for {percent(check.have)} of the model, so a variant of that size has to be made: "
            f"it decides there, and {percent(given.sent)} of the decisions go to the server."
        )
    if check.name == "bandwidth" and check.need > 0:
        return f"It sends and gets {rate_words(check.need)}, of {rate_words(check.have)}."
    return ""


def unknown(placement: Placement) -> str:
    """What has to be known first."""
    if not placement.missing:
        return ""
    labels = [f"{FIELDS[name].label.lower()} ({_where(name)})" for name in placement.missing]
    return f"Not known: {listed(labels)}."


def rests(placement: Placement, filled: Filled, given: Collection[str]) -> str:
    """What the verdict about a mode rests on that nobody measured, reported or typed; empty when there is nothing."""
    kinds = {name: filled.known[name].kind for name in placement.asks if name in filled.known and name not in given}
    soft = [name for name, kind in kinds.items() if kind in ("estimated", "assumed")]
    labels = [f"{FIELDS[name].label.lower()} ({_where(name)}, {kinds[name]})" for name in soft]
    return f"Not measured: {listed(labels)}." if labels else ""


def _where(name: str) -> str:
    return {"device": "device", "model": "model", "slim": "slim variant", "server": "server", "network": "network"}[
        FIELDS[name].group
    ]


def would_fit(given: Situation, placement: Placement) -> str:
    """`With 2 GiB more memory, full would fit.` Empty for a mode that fits or may fit."""
    if placement.fits is not False:
        return ""
    wanted = remedies(given, placement)
    if wanted is None:
        return _hopeless(given, placement)
    after = plan_of(changed(given, wanted)).of(placement.mode)
    sure = "" if after.fits else ", as far as is known"
    return f"With {listed([_remedy(given, each) for each in wanted])}, {placement.mode} would fit{sure}."


def _remedy(given: Situation, remedy: Remedy) -> str:
    value, now = remedy.value, getattr(given, remedy.field) or 0.0
    if value is None:
        return "a network"
    said = {
        "memory": lambda: f"{size(value - now)} more memory",
        "storage": lambda: f"{size(value - now)} more free storage",
        "cores": lambda: f"{digits(value - now)} more core{'' if value - now == 1 else 's'}",
        "tflops": lambda: f"{digits(value - now)} more TFLOPS",
        "link": lambda: f"a link of {rate_words(value)}",
        "compute_ms": lambda: f"a decision computed in {time(value)}",
        "slim_ms": lambda: f"a decision computed in {time(value)}",
        "observation": lambda: f"observations of at most {file(value)}",
        "bandwidth_limit": lambda: f"{rate_words(value)} allowed",
    }
    return said[remedy.field]()


def _hopeless(given: Situation, placement: Placement) -> str:
    """Why no single number of the form makes it fit."""
    rest = [given.server_ms, given.network_ms, given.server_other_ms]
    if placement.mode in (Mode.HYBRID, Mode.CLOUD) and None not in rest:
        least = sum(each or 0.0 for each in rest)
        if least >= given.latency_limit:
            return f"No link is wide enough for it: without the transmission a decision there takes {time(least)}."
    if placement.local and (given.other_ms or 0.0) >= given.latency_limit:
        return "What is beside the computing takes too long already."
    return "No number that one could type here would make it fit."


def month(plan: Plan) -> list[str]:
    """What a month of it sends, costs and takes, from stated inputs only."""
    given = plan.situation
    said = []
    for placement in dict.fromkeys((plan.chosen.mode, Mode.CLOUD)):
        each = plan.of(placement)
        if each.month:
            cost = "" if given.price is None else f", which costs {digits(each.month / 1e9 * given.price)}"
            said.append(f"{each.mode.capitalize()} would send and get {file(each.month)} a month{cost}.")
    if plan.chosen.energy:
        said.append(f"Its decisions on the device take {digits(plan.chosen.energy / 3.6e6)}{NBSP}kWh a month.")
    return said
