"""The loop that acts by itself."""

import itertools
import time

import numpy as np
import pytest

from agent.inference import inference_engine
from agent.inference.control_loop import ControlLoop
from agent.inference.inference_engine import InferenceEngine
from agent.inference.meter import Meter
from agent.inference.policy_card import Card, Floats, Observation
from agent.source import Finished
from tests.agent.inference.folders import folder_of
from tests.agent.variants import card, variant
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


class Arm(Steady):
    """Takes its time to carry a chunk out, and notes when it began and ended; the state counts the chunks."""

    seconds = 0.08

    def __init__(self, card: Card, seed: int) -> None:
        super().__init__(card, seed)
        self.card, self.chunks, self.times, self.rows = card, 0, [], []
        MADE.append(self)

    def observe(self) -> Observation:
        return Observation(np.zeros((8, 8, 3), np.uint8), "", np.array([1, 0, 0, self.chunks], np.float32))

    def act(self, actions: Floats) -> Finished:
        begun = time.monotonic()
        time.sleep(self.seconds)
        self.chunks += 1
        self.rows.append(actions)
        self.times.append((begun, time.monotonic()))
        return Finished()

    @property
    def waits(self) -> list[float]:
        """Seconds between the end of a chunk and the beginning of the next, sorted; the first one is left out."""
        return sorted(begun - ended for (_, ended), (begun, _) in itertools.pairwise(self.times[1:]))


def arm(card: Card, seed: int) -> Arm:
    return Arm(card, seed)


def recorder(card: Card, seed: int) -> Recorder:
    return Recorder(card, seed)


def stumbling(card: Card, seed: int) -> Stumbling:
    return Stumbling(card, seed)


@pytest.fixture
def running(tmp_path):
    """`running(source)` starts a loop; engine and meter come with it."""
    started = []

    def start(source: str, weight: float = 2.0, ahead: bool = False, loops: int = 0, **card_changes):
        engine, meter, idle = InferenceEngine(), Meter(), []
        engine.attach(meter)
        folder = folder_of(variant(weight, loops=loops, card_changes=card_changes), tmp_path / f"a{len(started)}")
        name = f"tests.agent.inference.test_control_loop:{source}"
        loop = ControlLoop(engine, name, 5, meter, idle.append, ahead=ahead)
        started.append(loop)
        loop.start()
        return engine, meter, idle, inference_engine.load(folder)

    MADE.clear()
    yield start
    for loop in started:
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


# --- Ahead of time ---


def test_a_robot_that_asks_ahead_never_waits_for_a_decision(running, monkeypatch):
    """A chunk takes longer than a decision: asked for afterwards that is waited for, asked for ahead it is there."""
    waits, computes, fastest = {}, {}, {}
    for ahead in (False, True):
        engine, meter, _, model = running("arm", ahead=ahead, loops=3, rate_hz=1000)
        took = [_timed(model) for _ in range(10)]
        fastest[ahead] = min(took)
        monkeypatch.setattr(Arm, "seconds", max(0.05, 3 * max(took)))  # however busy this machine is
        engine.swap(model)
        robot = wait_for("the arm", lambda: MADE[-1] if len(MADE) == 1 + ahead else None)  # noqa: B023 -- at once
        wait_for("15 chunks", lambda: robot.chunks >= 15, 60)  # noqa: B023 -- at once
        engine.swap(None)
        waits[ahead], computes[ahead] = robot.waits, meter.look().stages.compute / 1e3

    middle = len(waits[False]) // 2
    assert waits[False][middle] >= fastest[False] / 2
    assert waits[True][middle] <= max(0.003, computes[True] / 4)
    assert meter.look().ahead >= 10
    took = sum(ended - begun for begun, ended in robot.times) / len(robot.times)
    assert 0.9 * took <= meter.look().age / 1e3 <= 2 * took, "what was seen one chunk ago"


def _timed(model: inference_engine.LoadedModel) -> float:
    start = time.monotonic()
    model.runtime.run({"state": np.ones((1, 4), np.float32)})
    return time.monotonic() - start


def test_the_rows_for_what_was_done_meanwhile_are_left_out(running):
    """Each row of the tiny policy is twice the state's sum, and that is one more than the chunks it has seen."""
    engine, _, _, model = running("arm", ahead=True, rate_hz=1000)
    engine.swap(model)
    wait_for("6 chunks", lambda: MADE and MADE[0].chunks >= 6)

    assert [len(rows) for rows in MADE[0].rows[:4]] == [2, 1, 1, 1]
    seen_before = [rows[0, 0] / 2 - 1 for rows in MADE[0].rows[:6]]
    assert seen_before == [0, 0, 1, 2, 3, 4], "decided on what was seen before the chunk before"


def test_a_chunk_that_is_too_short_for_it_is_decided_in_time(running, caplog):
    engine, meter, _, model = running("arm", ahead=True, rate_hz=1000, actions={**card()["actions"], "execute": 2})
    engine.swap(model)
    wait_for("3 chunks", lambda: MADE and MADE[0].chunks >= 3)

    assert "the policy card's 2 rows are less than twice the 2" in caplog.text
    assert meter.look().ahead == 0


def test_another_card_begins_anew(running, tmp_path):
    engine, _, _, model = running("arm", ahead=True, rate_hz=1000)
    engine.swap(model)
    wait_for("3 chunks", lambda: MADE and MADE[0].chunks >= 3)
    engine.swap(inference_engine.load(folder_of(variant(5.0, card_changes={"rate_hz": 999}), tmp_path / "b")))
    wait_for("an arm for the other card", lambda: len(MADE) == 2 and MADE[1].chunks >= 3)

    assert MADE[1].rows[0].tolist() == [[5.0] * 3] * 2, "a whole chunk, decided by the new model"
