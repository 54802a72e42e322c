import subprocess
import sys

import msgspec
import numpy as np
import pytest

from agent import source as sources


def test_a_device_finds_the_source_by_name_and_the_expert_succeeds_on_it(card):
    source = sources.load("fleet.demo.source:tabletop")(card, 3)
    episodes = successes = 0
    for _ in range(60):
        seen = source.observe()
        assert seen.image.shape == (64, 64, 3)
        assert seen.image.dtype == np.uint8
        assert seen.state.shape == (7,)
        finished = source.act(source.expert_chunk())
        episodes, successes = episodes + finished.episodes, successes + finished.successes
    assert episodes >= 8
    assert successes == episodes


def test_doing_nothing_ends_after_forty_steps_as_a_failure(card):
    source = sources.load("fleet.demo.source:tabletop")(card, 0)
    ended = [source.act(np.zeros((8, 7), np.float32)) for _ in range(10)]
    assert [finished.episodes for finished in ended] == [0] * 9 + [1]
    assert ended[-1].successes == 0


def test_two_devices_see_different_tables_and_the_same_seed_the_same(card):
    make = sources.load("fleet.demo.source:tabletop")
    first, other, again = make(card, 1), make(card, 2), make(card, 1)
    assert (first.observe().image == again.observe().image).all()
    assert (first.observe().state != other.observe().state).any()


def test_a_card_with_other_actions_is_refused(card):
    wrong = msgspec.structs.replace(card, actions=msgspec.structs.replace(card.actions, size=6))
    with pytest.raises(ValueError, match="7 numbers an action, the card says 6"):
        sources.load("fleet.demo.source:tabletop")(wrong, 0)


def test_a_device_needs_neither_django_nor_torch_for_it():
    code = "import sys, fleet.demo.source; print([m for m in ('django', 'torch', 'onnx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
