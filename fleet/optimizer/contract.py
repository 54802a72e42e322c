"""What goes into an optimization and what comes out of it. Plain data: nothing here does anything."""

from typing import Annotated, Any, Literal

import msgspec

from agent.wire.hardware import DeviceClass
from fleet.optimizer.errors import RecipeError
from fleet.optimizer.intake import Format
from fleet.optimizer.objective import Weights
from fleet.optimizer.recipe import Recipe

Positive = Annotated[int, msgspec.Meta(ge=1)]
Verdict = Literal["won", "passed", "lost", "failed"]


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """How much work a search may do; `thorough` tries more candidates, and holds them to the interval of their loss.

    episodes: paired closed-loop episodes of a finalist, screen_episodes of them first, for hopeless ones to end early.
    distillation_steps: training steps of each cut block. rounds: interleaved rounds of the benchmark.
    trials, minutes: after so many or so long no further candidate is begun.
    """

    episodes: Positive = 400
    screen_episodes: Positive = 100
    distillation_steps: Positive = 180
    rounds: Positive = 20
    trials: Positive = 32
    minutes: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    thorough: bool = False


#: By name. brief: to see it work. quick: a thousand episodes for each finalist, in minutes. full: enough of them to
#: prove a loss below a point, longer distillation, more candidates.
BUDGETS = {
    "brief": Budget(),
    "quick": Budget(episodes=1000, screen_episodes=200),
    "full": Budget(episodes=4000, screen_episodes=400, distillation_steps=600, rounds=40, minutes=40.0, thorough=True),
}


class Constraints(msgspec.Struct, frozen=True, kw_only=True):
    """The gates. A limit of 0 is the class's or the card's own.

    max_loss_points: success that a variant may lose against the original, in percentage points.
    max_jerk_ratio: how many times as jerky its actions may be; a robot shakes before it fails.
    min_cosine: least mean cosine similarity of its outputs; where episodes decide, it only turns away the hopeless.
    max_bytes: of the file. max_memory_bytes: what the model adds to a process.
    """

    max_latency_ms: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    max_loss_points: Annotated[float, msgspec.Meta(ge=0, le=100)] = 2.0
    max_jerk_ratio: Annotated[float, msgspec.Meta(ge=1)] = 2.0
    min_cosine: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    max_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0
    max_memory_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0


#: What may be demanded of a variant beyond the class's own limits: in words, its unit, the least and the most.
LIMITS = {
    "max_loss_points": ("success loss limit", "points", 0, 100),
    "max_latency_ms": ("latency limit", "ms", 0.001, 60_000),
    "max_bytes": ("size limit", "bytes", 1, 2**40),
    "max_memory_bytes": ("memory limit", "bytes", 1, 2**40),
}


def constraints(**given: float | None) -> Constraints:
    """What was given, the class's own for what is None. Raises RecipeError with the limit that is out of range."""
    for name, value in given.items():
        words, unit, least, most = LIMITS[name]
        if value is not None and not least <= value <= most:
            raise RecipeError(f"the {words} is {least:g} to {most:,} {unit}, not {value:g}")
    return msgspec.convert({name: value for name, value in given.items() if value is not None}, Constraints)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One search: make the best variant of `source` for `device_class`.

    source and evaluation are paths; card the bytes of a policy card; evaluator the installed `module:function`;
    cache a folder that later searches share, for what the same work has measured before; weights are the objective's,
    None for those of the goal.
    """

    source: str
    format: Format
    device_class: DeviceClass
    recipe: Recipe
    cache: str
    card: bytes | None = None
    evaluation: str | None = None
    evaluator: str | None = None
    budget: Budget = Budget()
    constraints: Constraints = Constraints()
    weights: Weights | None = None


class Trial(msgspec.Struct, kw_only=True):
    """One candidate as it was made and measured.

    artifact is the folder with model.onnx, golden.npz, facts.json, and card.json where there is a card; None when it
    was not made. score is the objective (less is better); None unless it passed. Figures are listed in
    `evaluation.Figures`. lineage is the outcome's, with the time and the machine of this measurement: an earlier search
    may have made it.
    """

    name: str
    key: str
    recipe: dict[str, Any]
    figures: dict[str, Any] = {}
    lineage: dict[str, Any] = {}
    verdict: Verdict = "failed"
    reason: str = ""
    score: float | None = None
    artifact: str | None = None


class Outcome(msgspec.Struct, kw_only=True):
    """All trials; the winner's name (None when not even the original passes); where it all came from; the log.

    gates are the limits that all were judged by, as `verdict.Limits` has them.
    """

    trials: list[Trial]
    winner: str | None
    summary: str
    lineage: dict[str, Any]
    gates: dict[str, Any]
    log: list[str]
