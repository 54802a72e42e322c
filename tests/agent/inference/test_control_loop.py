"""The loop that acts by itself."""

import numpy as np
import pytest

from agent.inference import inference_engine
from agent.inference.control_loop import ControlLoop
from agent.inference.inference_engine import InferenceEngine
from agent.inference.meter import Meter
from agent.inference.policy_card import Card, Floats, Observation
from agent.source import Finished
from tests.agent.inference.folders import folder_of
from tests.agent.variants import variant
from tests.agent.waiting import wait_for
from tests.agent.worlds import Steady

MADE: list["Recorder"] = []


class Recorder(Steady):
    """Keeps what was carried out."""

    def __init__(self, card: Card, seed: int) -> None:
        super().__init__(card, seed)
        self.card, self.seed, self.acted = card, seed, []
        MADE.append(self)

    def act(self, actions: Floats) -> Finished:
        self.acted.append(actions)
        return super().act(actions)


class Stumbling(Steady):
    """Breaks at every second look."""

    looks = 0

    def observe(self) -> Observation:
        self.looks += 1
        if self.looks % 2:
            raise OSError("the camera is gone")
        return super().observe()


def recorder(card: Card, seed: int) -> Recorder:
    return Recorder(card, seed)


def stumbling(card: Card, seed: int) -> Stumbling:
    return Stumbling(card, seed)


@pytest.fixture
def running(tmp_path):
    """`running(source)` starts a loop; engine and meter come with it."""
    loops = []

    def start(source: str, weight: float = 2.0, **card_changes):
        engine, meter, idle = InferenceEngine(), Meter(), []
        engine.attach(meter)
        folder = folder_of(variant(weight, card_changes=card_changes), tmp_path / "a")
        loop = ControlLoop(engine, f"tests.agent.inference.test_control_loop:{source}", 5, meter, idle.append)
        loops.append(loop)
        loop.start()
        return engine, meter, idle, inference_engine.load(folder)

    MADE.clear()
    yield start
    for loop in loops:
        loop.stop()
        loop.join(5)
        assert not loop.is_alive()


def test_observes_decides_and_acts_at_the_cards_rate(running):
    engine, meter, idle, model = running("recorder", rate_hz=100)
    assert idle == []
    engine.swap(model)
    wait_for("25 decisions", lambda: meter.look().decisions >= 25)

    assert MADE[0].seed == 5
    assert np.isfinite(MADE[0].acted[0]).all()
    assert meter.look().episodes == meter.look().successes >= 1
    assert idle == [False]


def test_says_when_it_has_nothing_to_act_with_any_more(running):
    engine, meter, idle, model = running("recorder", rate_hz=100)
    engine.swap(model)
    wait_for("a decision", lambda: meter.look().decisions)
    engine.swap(None)

    wait_for("idleness", lambda: idle == [False, True])


def test_a_source_that_breaks_is_counted_and_does_not_end_the_loop(running):
    engine, meter, _, model = running("stumbling", rate_hz=200)
    engine.swap(model)
    wait_for("decisions between the errors", lambda: meter.look().decisions >= 5)

    assert meter.look().errors >= 5


def test_the_source_stays_for_a_model_with_the_same_card_and_is_made_again_for_another(running, tmp_path):
    engine, meter, _, model = running("recorder", rate_hz=100)
    engine.swap(model)
    wait_for("a decision", lambda: meter.look().decisions)
    same = inference_engine.load(folder_of(variant(3.0, card_changes={"rate_hz": 100}), tmp_path / "b"))
    engine.swap(same)
    wait_for("its decisions", lambda: any(each.max() == pytest.approx(3 * 11) for each in MADE[0].acted))
    assert len(MADE) == 1

    engine.swap(inference_engine.load(folder_of(variant(4.0, card_changes={"rate_hz": 99}), tmp_path / "c")))
    wait_for("a source for the other card", lambda: len(MADE) == 2)
    assert MADE[1].card.rate_hz == 99


def test_a_model_without_a_card_leaves_it_idle_and_it_says_so_once(running, tmp_path, caplog):
    engine, meter, idle, model = running("recorder", rate_hz=100)
    engine.swap(model)
    wait_for("a decision", lambda: meter.look().decisions)
    bare = inference_engine.load(folder_of(variant(with_card=False), tmp_path / "bare"))
    engine.swap(bare)
    wait_for("idleness", lambda: idle == [False, True])
    acted = len(MADE[0].acted)
    wait_for("the sentence", lambda: "bare has no policy card" in caplog.text)
    engine.swap(model)
    wait_for("it to act again", lambda: len(MADE[0].acted) > acted)

    assert caplog.text.count("has no policy card, so this device does not act by itself") == 1
    assert meter.look().errors == 0
    assert idle == [False, True, False]
