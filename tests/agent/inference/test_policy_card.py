"""From an observation to a model's inputs, and from its output to actions."""

import json

import numpy as np
import pytest

from agent.inference import policy_card
from agent.inference.policy_card import CardError, Codec, Observation

CARD = {
    "name": "arm",
    "inputs": {
        "camera": {"kind": "image", "height": 4, "width": 6},
        "words": {"kind": "instruction", "length": 4},
        "joints": {"kind": "state", "size": 2, "mean": [1, 2], "std": [2, 4]},
    },
    "actions": {"output": "out", "chunk": 2, "size": 2, "execute": 1, "low": [-1, 0], "high": [1, 1]},
    "tokenizer": {"kind": "words", "vocabulary": ["<pad>", "take", "the", "cup"]},
}


def codec(**changes) -> Codec:
    return Codec(policy_card.read(json.dumps({**CARD, **changes}).encode()))


def image_codec(**spec) -> Codec:
    camera = {"kind": "image", "height": 4, "width": 6, **spec}
    return codec(inputs={"camera": camera})


def seen(image=None, words="take the cup", state=(3.0, 6.0)) -> Observation:
    picture = np.arange(72, dtype=np.uint8).reshape(4, 6, 3) if image is None else image
    return Observation(picture, words, np.array(state, np.float32))


def test_an_image_becomes_channels_between_0_and_1():
    fed = codec().feeds(seen())["camera"]

    assert fed.shape == (1, 3, 4, 6)
    assert fed.dtype == np.float32
    assert fed[0, 1, 0, 0] == pytest.approx(1 / 255)
    assert fed[0, 0, 0, 1] == pytest.approx(3 / 255)


def test_an_image_can_keep_its_channels_last_and_be_normalised():
    fed = image_codec(layout="NHWC", mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.25]).feeds(seen())["camera"]

    assert fed.shape == (1, 4, 6, 3)
    assert fed[0, 0, 0].tolist() == pytest.approx([-1.0, (1 / 255 - 0.5) / 0.5, (2 / 255 - 0.5) / 0.25])


def test_an_image_of_another_size_is_resized():
    flat = np.full((480, 640, 3), 51, np.uint8)

    assert codec().feeds(seen(flat))["camera"] == pytest.approx(np.full((1, 3, 4, 6), 0.2, np.float32))


def test_resizing_averages_neighbours_like_opencv():
    pair = np.array([[[0] * 3, [100] * 3]], np.uint8)

    assert policy_card.resized(pair, 1, 4)[0, :, 0].tolist() == [0, 25, 75, 100]


def test_words_become_padded_tokens():
    assert codec().feeds(seen(words="Take the  CUP"))["words"].tolist() == [[1, 2, 3, 0]]


def test_the_state_is_normalised():
    assert codec().feeds(seen())["joints"].tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize(
    ("observation", "words"),
    [
        (seen(words="take the saucer"), "does not know the word 'saucer'"),
        (seen(words="take the cup the cup"), "has 5 words, the model takes 4"),
        (seen(state=(1.0,)), r"shape \[1\], the card says \[2\]"),
        (seen(state=(1.0, float("nan"))), "NaN or infinity"),
        (seen(np.zeros((4, 6, 4), np.uint8)), "uint8 .* not uint8"),
        (seen(np.zeros((4, 6, 3), np.float32)), "not float32"),
        (seen(np.zeros((4, 6), np.uint8)), "not uint8"),
    ],
)
def test_an_observation_that_does_not_fit_is_refused(observation, words):
    with pytest.raises(CardError, match=words):
        codec().feeds(observation)


def test_actions_are_held_to_their_limits():
    actions = codec().actions(np.array([[[5.0, -3.0], [0.5, 0.5]]], np.float32))

    assert actions.tolist() == [[1.0, 0.0], [0.5, 0.5]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_actions_that_are_no_numbers_are_refused(value):
    with pytest.raises(FloatingPointError, match="NaN or infinity"):
        codec().actions(np.array([[[value, 0.0], [0.0, 0.0]]], np.float32))


def test_actions_of_another_shape_are_refused():
    with pytest.raises(CardError, match=r"shape \[1, 3, 2\], the card says \[1, 2, 2\]"):
        codec().actions(np.zeros((1, 3, 2), np.float32))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"actions": {**CARD["actions"], "low": [0]}}, "actions.low has 1 numbers, not 2"),
        ({"actions": {**CARD["actions"], "execute": 3}}, "execute is 3, more than the chunk of 2"),
        ({"tokenizer": None}, "words is an instruction, but the card has no tokenizer"),
        ({"inputs": {"s": {"kind": "state", "size": 2, "mean": [1]}}}, "mean has 1 numbers, not 2"),
        ({"inputs": {}}, "inputs"),
        ({"inputs": {"camera": {"kind": "image", "height": 100_000, "width": 100_000}}}, "height"),
        ({"rate_hz": 0}, "rate_hz"),
        ({"inputz": {}}, "inputz"),
        ({"schema": 2}, "schema"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(changes, words):
    with pytest.raises(CardError, match=words):
        codec(**changes)


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"{" * 10_000, b" " * (policy_card.MAX_CARD + 1)])
def test_what_is_no_card_is_refused(data):
    with pytest.raises(CardError):
        policy_card.read(data)
