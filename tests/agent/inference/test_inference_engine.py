"""One observation in, one chunk of actions out; models change between two requests."""

import threading

import numpy as np
import pytest

from agent.inference import inference_engine
from agent.inference.data_cache import DataCache
from agent.inference.inference_engine import InferenceEngine, NoModelError
from agent.inference.meter import Meter
from agent.inference.policy_card import CardError, Observation
from agent.inference.runtimes import ModelError
from tests.agent.inference.folders import folder_of
from tests.agent.variants import card, model, variant
from tests.agent.waiting import wait_for


def seen(*state: float) -> Observation:
    return Observation(np.zeros((8, 8, 3), np.uint8), "", np.array(state or (1, 2, 3, 4), np.float32))


@pytest.fixture
def load(tmp_path):
    """`load(2.0)` is a loaded model whose actions are twice the sum of the state."""
    count = iter(range(1000))

    def made(weight=1.0, **how):
        folder = folder_of(variant(weight, **how), tmp_path / str(next(count)))
        return inference_engine.load(folder, artifact=f"a-{weight}")

    return made


def test_decides(load):
    engine = InferenceEngine()
    engine.swap(load(2.0))

    assert engine.process(seen(1, 2, 3, 4)).tolist() == [[20.0] * 3] * 2


def test_says_that_there_is_no_model_yet():
    with pytest.raises(NoModelError, match="roll one out"):
        InferenceEngine().process(seen())


def test_holds_actions_to_the_card(load):
    engine = InferenceEngine()
    engine.swap(load(1000.0))

    assert engine.process(seen()).max() == 100.0


def test_refuses_nan_and_counts_it(load):
    engine, meter = InferenceEngine(), Meter()
    engine.attach(meter)
    engine.swap(load(poison=True))

    with pytest.raises(FloatingPointError):
        engine.process(seen(0, 1, 2, 3))

    window = meter.take()
    assert (window.not_finite, window.errors, window.decisions) == (1, 0, 0)


def test_counts_an_observation_that_does_not_fit_as_an_error(load):
    engine, meter = InferenceEngine(), Meter()
    engine.attach(meter)
    engine.swap(load())

    with pytest.raises(CardError):
        engine.process(seen(1, 2))

    assert meter.take().errors == 1


def test_measures_each_stage_and_the_deadline(load):
    engine, meter = InferenceEngine(), Meter()
    engine.attach(meter)
    engine.swap(load(loops=2, card_changes={"deadline_ms": 0.001}))
    for _ in range(3):
        engine.process(seen())

    window = meter.take()
    assert (window.decisions, window.late) == (3, 3)
    assert window.stages.compute > window.stages.preprocess > 0
    assert window.stages.total == pytest.approx(sum(window.latencies) / 3)


def test_the_wait_for_the_decision_before_is_the_queue_stage(load):
    engine, meter = InferenceEngine(), Meter()
    engine.attach(meter)
    engine.swap(load(loops=10))
    together = [threading.Thread(target=engine.process, args=(seen(),)) for _ in range(4)]
    for each in together:
        each.start()
    for each in together:
        each.join()

    window = meter.take()
    assert window.decisions == 4
    assert window.stages.queue > window.stages.compute / 2


def test_a_swap_under_load_drops_no_request_and_mixes_no_two_models(load):
    engine, models = InferenceEngine(DataCache()), [load(weight) for weight in (1.0, 2.0, 3.0)]
    engine.swap(models[0])
    answers, problems, done = [], [], threading.Event()

    def ask(number: int) -> None:
        asked = 0
        while not done.is_set():
            state = (number, asked % 11, 1, 0)
            try:
                answers.append((sum(state), engine.process(seen(*state))))
            except Exception as problem:
                problems.append(problem)
            asked += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for each in threads:
        each.start()
    for turn in range(60):
        engine.swap(models[turn % 3])
        before = len(answers)
        wait_for("an answer", lambda: len(answers) > before or problems)  # noqa: B023 -- called at once
    done.set()
    for each in threads:
        each.join()

    assert problems == []
    assert len(answers) >= 60
    for total, actions in answers:
        assert len(set(actions.ravel().tolist())) == 1
        assert actions[0, 0] in (total, 2 * total, 3 * total)


def test_the_watch_counts_only_the_new_model(load):
    engine, watch = InferenceEngine(), Meter()
    engine.swap(load(1.0))
    engine.process(seen())
    engine.swap(load(2.0), watched_by=watch)
    engine.process(seen())
    engine.detach(watch)
    engine.process(seen())

    assert watch.take().decisions == 1


def test_the_same_observation_is_decided_once(load):
    engine, meter = InferenceEngine(DataCache()), Meter()
    engine.attach(meter)
    engine.swap(load(2.0))

    assert engine.process(seen()).tolist() == engine.process(seen()).tolist()
    window = meter.take()
    assert (window.decisions, window.cache_lookups, window.cache_hits) == (2, 2, 1)


def test_a_new_model_does_not_answer_with_the_old_ones_decisions(load):
    engine = InferenceEngine(DataCache())
    engine.swap(load(2.0))
    engine.process(seen())
    engine.swap(load(3.0))

    assert engine.process(seen())[0, 0] == 30.0


@pytest.mark.parametrize(
    ("how", "problem", "words"),
    [
        ({"model_bytes": b"not a model at all"}, ModelError, "does not load"),
        ({"model_bytes": model()[:200]}, ModelError, "does not load"),
        ({"card_changes": {"inputs": {"eyes": {"kind": "state", "size": 4}}}}, CardError, r"\['eyes'\].*\['state'\]"),
    ],
)
def test_a_folder_that_cannot_run_says_why(load, how, problem, words):
    with pytest.raises(problem, match=words):
        load(**how)


def test_an_observation_that_shows_nothing_need_not_be_understood(load):
    engine = InferenceEngine()
    engine.swap(load(fatal=True))  # warming up divides by zero

    assert engine.process(seen(1, 2, 3, 4)).tolist() == [[10.0] * 3] * 2


def test_an_output_that_the_card_names_and_the_model_has_not(load):
    engine = InferenceEngine()
    engine.swap(load(card_changes={"actions": {**card()["actions"], "output": "moves"}}))

    with pytest.raises(ModelError, match="no output 'moves'"):
        engine.process(seen())
