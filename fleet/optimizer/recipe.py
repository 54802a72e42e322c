"""What is tried for a device class: the recipe's numbers, and the candidates that follow from them. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, cast, get_args

import msgspec

from agent.wire.hardware import DeviceClass
from fleet.optimizer.errors import RecipeError
from fleet.optimizer.intake import Format
from fleet.optimizer.passes.distil import Distil
from fleet.optimizer.passes.factor import Factor
from fleet.optimizer.passes.heads import PruneHeads
from fleet.optimizer.passes.prune import Prune
from fleet.optimizer.passes.quantize import Quantize
from fleet.optimizer.passes.sparsify import Sparsify
from fleet.optimizer.passes.static import StaticQuantize
from fleet.optimizer.passes.store import Store

Goal = Literal["balanced", "realtime", "accuracy"]
Bits = Literal[8, 16, 32]

#: Techniques that need the program (a `.pt2`), in the order in which they run; then those that change an ONNX file.
ProgramPass = Prune | PruneHeads | Distil
FilePass = Store | Quantize | StaticQuantize | Factor | Sparsify


class PartRecipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one part of the model gets instead: None follows the recipe, a pruning of 0 cuts nothing there."""

    bits: Bits | None = None
    pruning: Annotated[float, msgspec.Meta(ge=0, le=0.5)] | None = None


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """Where a search begins.

    compression: the share of the original's bytes that should be gone; a goal, not a gate. bits: the width of stored
    weights. pruning: the share of feed-forward channels and of attention heads that is cut. parts: other settings for
    parts of the model that the policy card names.
    """

    compression: Annotated[float, msgspec.Meta(ge=0.1, le=0.9)]
    bits: Bits
    pruning: Annotated[float, msgspec.Meta(ge=0.1, le=0.5)]
    goal: Goal = "balanced"
    parts: dict[str, PartRecipe] = {}


DEFAULTS: dict[DeviceClass, Recipe] = {
    DeviceClass.EMBEDDED: Recipe(compression=0.6, bits=8, pruning=0.5),
    DeviceClass.MOBILE: Recipe(compression=0.4, bits=8, pruning=0.3),
    DeviceClass.EDGE_SERVER: Recipe(compression=0.3, bits=16, pruning=0.2),
}
#: What a goal changes of a class's defaults.
BENDS: dict[Goal, tuple[Bits, float]] = {"realtime": (8, 0.4), "accuracy": (16, 0.2)}

#: A cut beyond the recipe's that the search always tries, with a short distillation. Measured on the demonstration's
#: policy: it loses 0.1 to 1.2 ± 0.4 points by the refit alone (2,000 paired episodes), 0.6 (95 % interval 0.1 to 1.1)
#: once it is distilled (4,000). It is the same for every class, so that one class's work serves the next.
DEEP = 0.75
#: The share of heads that goes with it, as far as the outputs allow.
DEEP_HEADS = 0.5
#: The deepest cut, of a thorough search: 0.3 ± 0.4 points lost after 300 steps a block and 60 of the whole (2,000).
DEEPEST, WHOLE_STEPS = 0.875, 120


def recipe_for(
    device_class: DeviceClass,
    goal: str = "balanced",
    *,
    compression: float | None = None,
    bits: int | None = None,
    pruning: float | None = None,
    parts: Mapping[str, Mapping[str, float | None]] | None = None,
    known: Collection[str] = (),
) -> Recipe:
    """The class's defaults, bent by the goal, then by what was given. Raises RecipeError with the wrong value.

    parts: settings (bits, pruning) by the name of a part; `known` are the names in the policy card.
    """
    if goal not in get_args(Goal):
        raise RecipeError(f"the goal is one of {', '.join(get_args(Goal))}, not {goal!r}")
    start = DEFAULTS[device_class]
    default_bits, default_pruning = BENDS.get(cast(Goal, goal), (start.bits, start.pruning))
    chosen = {
        "compression": start.compression if compression is None else compression,
        "bits": default_bits if bits is None else bits,
        "pruning": default_pruning if pruning is None else pruning,
        "goal": goal,
    }
    for name, low, high in (("compression", 0.1, 0.9), ("pruning", 0.1, 0.5)):
        value = chosen[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise RecipeError(f"{name} is {value}; it must lie between {low} and {high}")
    if chosen["bits"] not in get_args(Bits):
        raise RecipeError(f"bits is {chosen['bits']}; it must be 8, 16 or 32")
    return msgspec.convert({**chosen, "parts": _parts(parts or {}, known)}, Recipe)


def _parts(given: Mapping[str, Mapping[str, float | None]], known: Collection[str]) -> dict[str, PartRecipe]:
    found = {}
    for name, settings in given.items():
        if name not in known:
            names = f"it names {', '.join(sorted(known))}" if known else "it names none"
            raise RecipeError(f"the policy card has no part {name!r}; {names}")
        pruning, bits = settings.get("pruning"), settings.get("bits")
        if pruning is not None and (isinstance(pruning, bool) or not 0 <= pruning <= 0.5):
            raise RecipeError(f"pruning of {name} is {pruning}; it must lie between 0 and 0.5")
        if bits is not None and bits not in get_args(Bits):
            raise RecipeError(f"bits of {name} is {bits}; it must be 8, 16 or 32")
        if pruning is not None or bits is not None:
            found[name] = msgspec.convert(dict(settings), PartRecipe)
    return found


@dataclass(frozen=True, slots=True)
class Facts:
    """What the search knows before it begins.

    informed: there are real inputs or episodes to measure with. episodes: each trial costs some. parts: by the policy
    card's names, how the names of the weights begin.
    """

    format: Format
    informed: bool
    episodes: bool = False
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    name: str
    program: tuple[ProgramPass, ...] = ()
    file: tuple[FilePass, ...] = ()

    @property
    def original(self) -> bool:
        return not self.program and not self.file


ORIGINAL = Candidate("original")


def candidates(
    recipe: Recipe, facts: Facts, distillation_steps: int = 180, *, thorough: bool = False
) -> list[Candidate]:
    """What is tried, the original first, then from the gentlest change to the hardest; `thorough` tries more.

    Without real inputs only halved storage is tried: whatever changes more would be judged on noise, on which a
    detector once scored 0.9999 and then lost every detection on a photo. Where every trial costs episodes, what seldom
    wins on a policy is left to a thorough search.
    """
    shares, widths = _apart(recipe, facts)
    wide = tuple(each for each, bits in widths if bits != 8)
    half, quarter = Store(bits=16, apart=widths), Store(bits=8, apart=widths)
    narrow: tuple[FilePass, ...] = {8: (quarter,), 16: (half,), 32: ()}[recipe.bits]
    suffix = {8: ", int8 storage", 16: ", fp16 storage", 32: ""}[recipe.bits]

    found = [ORIGINAL]
    if recipe.bits <= 16:
        found.append(Candidate("fp16 storage", file=(half,)))
    if not facts.informed:
        return found
    if recipe.bits == 8:
        found += [
            Candidate("int8 storage", file=(quarter,)),
            Candidate("int8", file=(Quantize(apart=wide), half)),
            Candidate("int8 everywhere", file=(Quantize(keep_sensitive=False, apart=wide),)),
        ]
        if thorough or not facts.episodes:
            found.append(Candidate("static int8", file=(StaticQuantize(apart=wide), quarter)))
    if thorough or not facts.episodes:
        found.append(Candidate(f"low rank{suffix}", file=(Factor(), *narrow)))
    if thorough:
        zeros = Sparsify(share=recipe.pruning, apart=shares)
        found.append(Candidate(f"{_percent(recipe.pruning)} zeros{suffix}", file=(zeros, *narrow)))
    if facts.format == "pt2":
        heads, deep_heads = (PruneHeads(share=share, apart=shares) for share in (recipe.pruning, DEEP_HEADS))
        deep = (Prune(share=DEEP, apart=shares), deep_heads, Distil(steps=distillation_steps))
        cut = Prune(share=recipe.pruning, apart=shares)
        found += [
            Candidate(f"{_percent(recipe.pruning)} cut{suffix}", (cut, heads), narrow),
            Candidate(f"{_percent(DEEP)} cut, distilled{suffix}", deep, narrow),
        ]
        if recipe.bits == 8:
            found.append(Candidate(f"{_percent(DEEP)} cut, distilled, int8", deep, (Quantize(apart=wide), half)))
        if thorough:
            deepest = (
                Prune(share=DEEPEST, apart=shares),
                deep_heads,
                Distil(steps=2 * distillation_steps, whole_steps=WHOLE_STEPS),
            )
            found.append(Candidate(f"{_percent(DEEPEST)} cut, distilled{suffix}", deepest, narrow))
    return found


def _apart(recipe: Recipe, facts: Facts) -> tuple[tuple[tuple[str, float], ...], tuple[tuple[str, Bits], ...]]:
    """Shares to cut and bits of the parts with settings of their own, by how the names of their weights begin."""
    named = [(each, settings) for name, settings in recipe.parts.items() for each in facts.parts[name]]
    return (
        tuple((each, settings.pruning) for each, settings in named if settings.pruning is not None),
        tuple((each, settings.bits) for each, settings in named if settings.bits is not None),
    )


def why_not(facts: Facts) -> list[str]:
    """What is not tried, and why: for the page."""
    reasons = []
    if facts.format == "onnx":
        reasons.append("Cutting and distilling need the program: upload a .pt2 to have them tried.")
    if not facts.informed:
        reasons.append("Without an evaluation set or an evaluator only exact storage formats are tried.")
    return reasons


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
