import numpy as np
import pytest
import torch

from agent.inference.policy_card import Codec
from fleet.demo.evaluator import batches, evaluate
from fleet.demo.policy import ASSETS, WEIGHTS, TabletopPolicy, build_pt2, load


@pytest.fixture(scope="module")
def policy() -> TabletopPolicy:
    return load()


@pytest.fixture(scope="module")
def run(policy):
    def decide(feeds):
        with torch.inference_mode():
            return policy(**{name: torch.from_numpy(array) for name, array in feeds.items()}).numpy()

    return decide


def test_the_shipped_weights_do_the_job(run, card):
    assert evaluate(run, Codec(card), 60, 0).mean() >= 0.9


def test_the_same_seed_gives_the_same_episodes_however_they_are_cut_up(run, card):
    codec = Codec(card)
    whole = evaluate(run, codec, 24, 40)
    pieces = np.concatenate([evaluate(run, codec, 10, 40), evaluate(run, codec, 14, 50)])
    assert (whole == pieces).all()


def test_a_policy_that_answers_nan_is_found_out(card):
    with pytest.raises(FloatingPointError):
        evaluate(lambda feeds: np.full((1, 8, 7), np.nan, np.float32), Codec(card), 1, 0)


def test_a_policy_that_does_nothing_never_succeeds(card):
    assert not evaluate(lambda feeds: np.zeros((1, 8, 7), np.float32), Codec(card), 20, 0).any()


def test_more_episodes_than_are_set_aside_are_refused(card):
    with pytest.raises(ValueError, match="no 5 episodes from seed 999999999"):
        evaluate(lambda feeds: np.zeros((1, 8, 7), np.float32), Codec(card), 5, 999_999_999)


def test_every_weight_belongs_to_one_part_of_the_card(policy, card):
    for name in policy.state_dict():
        parts = [part for part, prefixes in card.parts.items() if name.startswith(tuple(prefixes))]
        assert len(parts) == 1, name


def test_the_assets_are_small_and_the_evaluation_set_fits_the_model(card):
    assert WEIGHTS.stat().st_size <= 12 * 1024**2
    with np.load(ASSETS / "evaluation.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    assert {name: array.shape[1:] for name, array in arrays.items()} == {
        "image": (3, 64, 64),
        "tokens": (8,),
        "state": (7,),
    }
    assert {len(array) for array in arrays.values()} == {64}


def test_batches_never_repeat_a_scene(card):
    made = batches(card, 4, seed=1)
    first, second = next(made)["image"], next(made)["image"]
    assert first.shape == (4, 3, 64, 64)
    assert not (first == second).all()


def test_the_exported_program_takes_any_batch_and_agrees_with_the_module(tmp_path, policy):
    program = torch.export.load(build_pt2(tmp_path / "tabletop.pt2")).module()
    for count in (1, 3):
        feeds = (torch.rand(count, 3, 64, 64), torch.ones(count, 8, dtype=torch.int64), torch.rand(count, 7))
        with torch.inference_mode():
            torch.testing.assert_close(program(*feeds), policy(*feeds), atol=1e-4, rtol=0)
