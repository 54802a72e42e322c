import msgspec
import pytest

from agent.wire.hardware import DeviceClass
from fleet.optimizer.errors import RecipeError
from fleet.optimizer.passes.distil import Distil
from fleet.optimizer.passes.heads import PruneHeads
from fleet.optimizer.passes.prune import Prune
from fleet.optimizer.passes.quantize import Quantize
from fleet.optimizer.passes.sparsify import Sparsify
from fleet.optimizer.passes.static import StaticQuantize
from fleet.optimizer.passes.store import Store
from fleet.optimizer.recipe import Facts, candidates, recipe_for, why_not

PROGRAM = Facts("pt2", informed=True, episodes=True)


@pytest.mark.parametrize(
    ("device_class", "numbers"),
    [
        (DeviceClass.EMBEDDED, (0.6, 8, 0.5)),
        (DeviceClass.MOBILE, (0.4, 8, 0.3)),
        (DeviceClass.EDGE_SERVER, (0.3, 16, 0.2)),
    ],
)
def test_each_class_starts_from_its_own_numbers(device_class, numbers):
    recipe = recipe_for(device_class)
    assert (recipe.compression, recipe.bits, recipe.pruning) == numbers


def test_a_goal_bends_the_numbers_and_what_is_given_outweighs_both():
    fast = recipe_for(DeviceClass.EDGE_SERVER, "realtime")
    assert (fast.compression, fast.bits, fast.pruning) == (0.3, 8, 0.4)
    careful = recipe_for(DeviceClass.EMBEDDED, "accuracy", pruning=0.1)
    assert (careful.compression, careful.bits, careful.pruning) == (0.6, 16, 0.1)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"compression": 0.05}, r"compression is 0\.05; it must lie between 0\.1 and 0\.9"),
        ({"compression": float("nan")}, "compression is nan"),
        ({"pruning": 0.6}, r"pruning is 0\.6; it must lie between 0\.1 and 0\.5"),
        ({"pruning": True}, "pruning is True"),
        ({"bits": 4}, "bits is 4; it must be 8, 16 or 32"),
        ({"goal": "fastest"}, "the goal is one of balanced, realtime, accuracy, not 'fastest'"),
    ],
)
def test_numbers_out_of_range_are_refused_with_the_range(given, sentence):
    with pytest.raises(RecipeError, match=sentence):
        recipe_for(DeviceClass.MOBILE, **given)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"hearing": {"bits": 8}}, "the policy card has no part 'hearing'; it names action, vision"),
        ({"vision": {"bits": 12}}, "bits of vision is 12; it must be 8, 16 or 32"),
        ({"action": {"pruning": 0.8}}, r"pruning of action is 0\.8; it must lie between 0 and 0\.5"),
    ],
)
def test_settings_of_a_part_are_checked_too(parts, sentence):
    with pytest.raises(RecipeError, match=sentence):
        recipe_for(DeviceClass.EMBEDDED, parts=parts, known=("vision", "action"))
    with pytest.raises(RecipeError, match="it names none"):
        recipe_for(DeviceClass.EMBEDDED, parts={"vision": {"bits": 8}})


def test_a_part_with_settings_of_its_own_has_them_in_everything_that_is_tried():
    parts = {"action": {"bits": 16, "pruning": 0}, "vision": {"pruning": 0.25}}
    recipe = recipe_for(DeviceClass.EMBEDDED, parts=parts, known=("vision", "action"))
    named = {"vision": ("vision.",), "action": ("grounding.", "action.")}
    found = candidates(recipe, Facts("pt2", informed=True, parts=named), thorough=True)
    steps = [step for each in found for step in (*each.program, *each.file)]
    shares = (("grounding.", 0.0), ("action.", 0.0), ("vision.", 0.25))
    assert all(step.apart == shares for step in steps if isinstance(step, Prune | PruneHeads | Sparsify))
    assert all(step.apart == (("grounding.", 16), ("action.", 16)) for step in steps if isinstance(step, Store))
    quantized = [step for step in steps if isinstance(step, Quantize | StaticQuantize)]
    assert quantized
    assert all(step.apart == ("grounding.", "action.") for step in quantized)


def test_what_seldom_wins_on_a_policy_is_tried_where_no_trial_costs_episodes():
    def tried(*, episodes: bool) -> set[str]:
        found = candidates(recipe_for(DeviceClass.MOBILE), Facts("pt2", informed=True, episodes=episodes))
        return {type(step).__name__ for each in found for step in each.file}

    assert tried(episodes=False) - tried(episodes=True) == {"StaticQuantize", "Factor"}


def test_zeros_are_offered_by_a_thorough_search_only():
    def zeros(*, thorough: bool) -> list[str]:
        found = candidates(recipe_for(DeviceClass.MOBILE), PROGRAM, thorough=thorough)
        return [each.name for each in found if any(isinstance(step, Sparsify) for step in each.file)]

    assert zeros(thorough=True) == ["30 % zeros, int8 storage"]
    assert not zeros(thorough=False)


def test_the_original_comes_first_and_names_are_told_apart():
    for device_class in DeviceClass:
        found = candidates(recipe_for(device_class), PROGRAM)
        assert found[0].original
        assert not any(each.original for each in found[1:])
        assert len({each.name for each in found}) == len(found)
        assert all(len(each.name) <= 64 for each in found)


def test_the_recipe_decides_what_is_tried():
    embedded = candidates(recipe_for(DeviceClass.EMBEDDED), PROGRAM)
    cut = (Prune(share=0.5), PruneHeads(share=0.5))
    assert any(each.program == cut and each.file == (Store(bits=8),) for each in embedded)
    assert any(isinstance(step, Distil) for each in embedded for step in each.program)
    edge = candidates(recipe_for(DeviceClass.EDGE_SERVER), PROGRAM)
    assert {step.bits for each in edge for step in each.file if isinstance(step, Store)} == {16}
    whole = candidates(recipe_for(DeviceClass.EDGE_SERVER, bits=32), PROGRAM)
    assert not any(each.file for each in whole)


def test_classes_share_as_much_work_as_they_can():
    def work(device_class: DeviceClass) -> set[bytes]:
        return {
            msgspec.json.encode([each.program, each.file]) for each in candidates(recipe_for(device_class), PROGRAM)
        }

    embedded, mobile = work(DeviceClass.EMBEDDED), work(DeviceClass.MOBILE)
    assert len(embedded & mobile) == len(embedded) - 1


def test_without_a_program_or_without_real_inputs_less_is_tried_and_said_why():
    recipe = recipe_for(DeviceClass.EMBEDDED)
    uploaded = Facts("onnx", informed=True)
    assert not any(each.program for each in candidates(recipe, uploaded))
    assert "upload a .pt2" in why_not(uploaded)[0]
    blind = Facts("pt2", informed=False)
    assert [each.name for each in candidates(recipe, blind)] == ["original", "fp16 storage"]
    assert "Without an evaluation set" in why_not(blind)[0]
    assert why_not(PROGRAM) == []
