"""Restraints in words: what a device does less of to stay within its budgets, and why. One wording for both sides."""

from agent.wire.messages import Restraint

_WHOSE = {"memory": "its memory", "cpu": "its processor time", "power": "the power"}

#: What the end of each step gives back.
ENDED = {
    "drop_caches": "keeps a cache again",
    "fewer_threads": "runs on all its threads again",
    "lower_rate": "acts at its full rate again",
    "smaller_variant": "does not ask for a smaller variant any more",
    "refuse": "answers all requests of other programs again",
}


def doing(restraint: Restraint) -> str:
    """What the device does: `runs on 1 thread`."""
    level = restraint.level
    match restraint.step:
        case "drop_caches":
            return "keeps no cache"
        case "fewer_threads":
            return f"runs on {level:.0f} thread{'' if level == 1 else 's'}"
        case "lower_rate":
            return f"acts at {level:.0%} of its rate".replace("%", " %")
        case "smaller_variant":
            return "asks for a smaller variant"
        case "refuse":
            share = f", but for {level:.0%} of the time".replace("%", " %") if level else ""
            return f"refuses the requests of other programs{share}"


def why(restraint: Restraint) -> str:
    """What led to it: `its memory was at 93 % of its budget (121 of 130 MiB)`."""
    used, limit, budget = restraint.used, restraint.limit, restraint.budget
    if budget == "temperature":
        return f"the temperature was {used:.0f} °C, and its budget is {limit:.0f} °C"
    whose = f"the {restraint.source} power" if budget == "power" and restraint.source else _WHOSE[budget]
    share = f"{used / limit:.0%}".replace("%", " %") if limit else "more than all"
    figures = {
        "memory": f"{used / 2**20:,.0f} of {limit / 2**20:,.0f} MiB",
        "cpu": f"{used:.3g} of {limit:.3g} % of all cores",
        "power": f"{used:.3g} of {limit:.3g} W",
    }[budget]
    return f"{whose} was at {share} of its budget ({figures})"


def sentence(restraint: Restraint) -> str:
    """`It runs on 1 thread, because its memory was at 93 % of its budget (121 of 130 MiB).`"""
    return f"It {doing(restraint)}, because {why(restraint)}."
