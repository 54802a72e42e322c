"""The planner: the same answer as on its page."""

from math import isinf

from django.utils import timezone
from ninja import Router

from fleet.accounts.roles import Role
from fleet.api.auth import allow
from fleet.api.planner_schemas import PlanIn, PlanOut
from fleet.api.schemas import Problem
from fleet.dashboard.selectors import planning as select
from fleet.errors import Refused
from fleet.planner import words
from fleet.planner.fields import BASE, FIELDS, held
from fleet.planner.filling import Filled, fill
from fleet.planner.modes import Placement, Plan
from fleet.planner.plan import plan

router = Router(tags=["planner"])


@router.post("/plan", response={200: PlanOut, 409: Problem}, auth=allow(Role.VIEWER))
def planned(request, body: PlanIn):
    """Which mode fits and why. What is not given is taken from the version and the device, as far as it is known there.

    Nothing is stored.
    """
    asked = {"version": body.version or "", "device": body.device or "", "class": body.device_class or ""}
    chosen = select.choose(asked)
    if chosen.problems:
        raise Refused(" ".join(chosen.problems.values()))
    filled = fill(_given(body.given), select.known(chosen, timezone.now()), chosen.device_class)
    made = plan(filled.situation)
    return {
        "chosen": made.chosen.mode,
        "fits": made.certain,
        "headline": words.headline(made),
        "why": words.why(made),
        "rests_on": words.rests(made.chosen, filled, body.given) if made.certain else "",
        "compared": words.compared(made),
        "month": words.month(made),
        "inputs": [_input(name, body.given, filled) for name in FIELDS],
        "modes": [_mode(made, each) for each in made.modes],
    }


def _given(values: dict[str, float]) -> dict[str, float]:
    """Raises Refused for a name that there is not and a value out of its range."""
    if unknown := sorted(set(values) - set(FIELDS)):
        raise Refused(f"There is no input {', '.join(unknown)}; there are {', '.join(FIELDS)}.")
    try:
        return {name: held(FIELDS[name], value) for name, value in values.items()}
    except ValueError as problem:
        raise Refused(str(problem)) from problem


def _input(name: str, given: dict[str, float], filled: Filled) -> dict:
    known = filled.known.get(name)
    return {
        "name": name,
        "value": getattr(filled.situation, name),
        "unit": BASE[FIELDS[name].kind],
        "given": name in given,
        "kind": known.kind if known else None,
        "known": known.value if known else None,
        "source": known.source if known else "",
    }


def _mode(made: Plan, each: Placement) -> dict:
    stages = {name: _finite(getattr(each.latency, name)) for name in ("compute", "transmit", "network", "other")}
    total = each.latency.total
    return {
        "mode": each.mode,
        "fits": each.fits,
        "latency_ms": {**stages, "total": _finite(total), "longest": _finite(each.worst_ms)},
        "endless": total is not None and isinf(total),
        "bandwidth": _finite(each.bandwidth),
        "bandwidth_mbit": None if _finite(each.bandwidth) is None else each.bandwidth * 8 / 1e6,
        "memory": each.local.memory if each.local else 0,
        "part": each.local.part if each.local else 0,
        "checks": [
            {"name": check.name, "need": _finite(check.need), "have": check.have, "fits": check.fits}
            for check in each.checks
        ],
        "use": {use.name: _finite(use.share) for use in each.uses},
        "objective": _finite(each.objective),
        "reasons": words.reasons(made.situation, each),
        "would_fit": words.would_fit(made.situation, each),
        "missing": list(each.missing),
        "month_bytes": each.month,
        "month_joules": each.energy,
    }


def _finite(value: float | None) -> float | None:
    """JSON has no infinity."""
    return None if value is None or isinf(value) else value
