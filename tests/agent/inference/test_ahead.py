"""Actions asked for ahead of time: there when they are needed, with the age of what they were decided on."""

import threading
import time
from concurrent.futures import CancelledError

import numpy as np
import pytest

from agent.inference import inference_engine
from agent.inference.ahead import Ahead
from agent.inference.inference_engine import InferenceEngine, LateError, NoModelError
from agent.inference.policy_card import CardError
from tests.agent.inference.folders import folder_of
from tests.agent.variants import variant

IMAGE = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture
def engine(tmp_path):
    made = InferenceEngine()
    made.swap(inference_engine.load(folder_of(variant(2.0, loops=2), tmp_path / "a")))
    return made


@pytest.fixture
def ahead(engine):
    made = Ahead(engine)
    yield made
    made.stop()


def test_the_answer_comes_later_with_its_age_and_its_model(ahead, engine):
    before = time.monotonic()
    asked = ahead.ask(IMAGE, "grasp", [1, 2, 3, 4])
    chunk = asked.result(10)

    assert chunk.actions.tolist() == [[20.0] * 3] * 2
    assert before <= chunk.seen <= chunk.decided <= time.monotonic()
    assert chunk.age(chunk.seen + 0.25) == pytest.approx(0.25)
    assert chunk.model is engine.model


def test_asking_does_not_wait_for_the_decision(ahead):
    ahead.ask(IMAGE, "", [1, 2, 3, 4]).result(10)
    took = []
    for _ in range(20):
        start = time.perf_counter()
        asked = ahead.ask(IMAGE, "", [1, 2, 3, 4])
        took.append(time.perf_counter() - start)
        start = time.perf_counter()
        asked.result(10)
        took.append(time.perf_counter() - start)

    asking, waiting = sorted(took[::2])[10], sorted(took[1::2])[10]
    assert asking < waiting / 3


def test_what_is_seen_now_takes_the_place_of_what_still_waits(ahead, engine):
    with engine._lock:  # a decision is under way
        first = ahead.ask(IMAGE, "", [1, 0, 0, 0])
        while not first.running():
            time.sleep(0.001)
        second = ahead.ask(IMAGE, "", [2, 0, 0, 0])
        third = ahead.ask(IMAGE, "", [3, 0, 0, 0])
        with pytest.raises(CancelledError):
            second.result(1)
    assert [each.result(10).actions[0, 0] for each in (first, third)] == [2, 6]


def test_errors_come_with_the_result(ahead, engine):
    with pytest.raises(CardError):
        ahead.ask(IMAGE, "", [1, 2]).result(10)
    with engine._lock:
        late = ahead.ask(IMAGE, "", [1, 2, 3, 4], within_ms=20)
        with pytest.raises(LateError):
            late.result(10)
    engine.swap(None)
    with pytest.raises(NoModelError):
        ahead.ask(IMAGE).result(10)


def test_a_swap_drops_no_request(ahead, tmp_path, engine):
    models = [inference_engine.load(folder_of(variant(w), tmp_path / f"m{w}")) for w in (1.0, 2.0, 3.0)]
    done = threading.Event()

    def swap() -> None:
        turn = 0
        while not done.is_set():
            engine.swap(models[turn % 3])
            turn += 1

    swapping = threading.Thread(target=swap)
    swapping.start()
    answers = [ahead.ask(IMAGE, "", [1, 0, 0, 0]).result(10) for _ in range(300)]
    done.set()
    swapping.join()

    weights = {id(model): weight for model, weight in zip(models, (1.0, 2.0, 3.0), strict=True)}
    assert all(chunk.actions.max() == weights.get(id(chunk.model), 2.0) for chunk in answers)


def test_after_the_stop_nothing_is_taken_and_nobody_waits_for_ever(engine):
    ahead = Ahead(engine)
    with engine._lock:
        running = ahead.ask(IMAGE, "", [1, 2, 3, 4])
        while not running.running():
            time.sleep(0.001)
        waiting = ahead.ask(IMAGE, "", [1, 2, 3, 4])
        ahead.stop(seconds=0.01)
        assert waiting.cancelled()
    assert running.result(10).actions.max() == 20
    with pytest.raises(RuntimeError, match="was stopped"):
        ahead.ask(IMAGE)
