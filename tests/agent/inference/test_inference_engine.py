"""One observation in, one chunk of actions out; models change between two requests."""

import dataclasses
import threading
import time

import numpy as np
import pytest

from agent.inference.data_cache import DataCache
from agent.inference.inference_engine import InferenceEngine, LateError, NoModelError
from agent.inference.meter import Meter
from agent.inference.policy_card import CardError
from agent.inference.runtimes import ModelError
from agent.wire.messages import Config
from tests.agent.inference.requests import fed, loader, seen
from tests.agent.variants import card, model
from tests.agent.waiting import wait_for


@pytest.fixture
def load(tmp_path):
    return loader(tmp_path)


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


# --- The plain call ---


def test_an_image_some_words_and_a_state_are_enough(load):
    engine = InferenceEngine()
    engine.swap(load(2.0))
    image = np.zeros((8, 8, 3), np.uint8)

    assert engine.process(image, "grasp", [1, 2, 3, 4]).tolist() == [[20.0] * 3] * 2
    assert engine.process(image, "grasp", state=np.array([1, 2, 3, 4])).max() == 20
    assert engine.process(image, "grasp").max() == 0, "a state that is not given is zeros"
    assert engine.process(seen(1, 2, 3, 4)).max() == 20
    with pytest.raises(CardError):
        engine.process(image, "grasp", [1, 2])


def test_an_image_that_is_none_is_refused_with_and_without_a_cache(load):
    for cache in (None, DataCache()):
        engine = InferenceEngine(cache)
        folder_card = {"inputs": {"state": {"kind": "state", "size": 4}}}
        engine.swap(load(2.0, card_changes=folder_card))
        with pytest.raises(CardError):
            engine.process(np.zeros((8, 8, 3), object), "", [1, 2, 3])


# --- Deadlines and budgets ---


def hold(engine: InferenceEngine, gate: threading.Event) -> threading.Thread:
    """Another request that is under way until the gate opens."""
    inside = threading.Event()
    runtime = engine.model.runtime
    run = type(runtime).run

    class Slow:
        inputs, outputs = runtime.inputs, runtime.outputs

        @staticmethod
        def run(feeds):
            inside.set()
            gate.wait(10)
            return run(runtime, feeds)

    engine.swap(dataclasses.replace(engine.model, runtime=Slow()))
    thread = threading.Thread(target=engine.infer, args=(fed(),))
    thread.start()
    assert inside.wait(10)
    return thread


@pytest.mark.parametrize("ask", ["process", "infer"])
def test_a_request_whose_deadline_passes_while_it_waits_is_refused_then_and_not_computed(load, ask):
    engine, meter, gate = InferenceEngine(), Meter(), threading.Event()
    engine.attach(meter)
    engine.swap(load(2.0))
    other = hold(engine, gate)
    start = time.monotonic()
    with pytest.raises(LateError, match="deadline passed while it waited"):
        engine.process(seen(), within_ms=30) if ask == "process" else engine.infer(fed(), within_ms=30)
    waited = time.monotonic() - start
    gate.set()
    other.join()

    assert 0.03 <= waited < 1, "told at its deadline, not when the other one is through"
    window = meter.take()
    assert (window.decisions, window.refused, window.errors) == (1, 1, 0)


def test_a_request_that_is_begun_in_time_is_answered(load):
    engine = InferenceEngine()
    engine.swap(load(2.0))

    assert engine.process(seen(), within_ms=1000).max() == 20
    with pytest.raises(LateError):
        engine.process(seen(), within_ms=0)


def test_the_budget_that_was_broken_is_counted(load):
    engine, meter = InferenceEngine(), Meter()
    engine.attach(meter)
    engine.swap(load())
    engine.process(seen())
    assert (meter.look().over_compute, meter.look().over_total) == (0, 0)

    engine.configure(Config(compute_budget=1e-3))
    engine.process(seen())
    window = meter.take()
    assert (window.over_preprocess, window.over_compute, window.over_total, window.late) == (0, 1, 0, 0)

    engine.swap(load(card_changes={"budgets": {"preprocess_ms": 1e-4}}))
    engine.process(seen())
    assert (meter.look().over_preprocess, meter.look().over_compute) == (1, 1), "the operator's go with every model"
    assert engine.budgets.preprocess == 1e-4


# --- The cache under load ---


def test_what_is_known_is_answered_without_waiting(load):
    engine, meter, gate = InferenceEngine(DataCache()), Meter(), threading.Event()
    engine.attach(meter)
    engine.swap(load(2.0))
    other = hold(engine, gate)
    gate.set()
    other.join()
    engine.process(seen())
    gate.clear()
    other = threading.Thread(target=engine.process, args=(seen(9, 9, 9, 9),))
    other.start()
    wait_for("the other request to be under way", engine._lock.locked)

    assert engine.process(seen(), within_ms=1000).max() == 20
    gate.set()
    other.join()
    window = meter.take()
    assert (window.cache_lookups, window.cache_hits) == (3, 1)


def test_a_swap_under_load_never_answers_from_the_old_ones_cache(load):
    """Few observations, so that nearly all are known; every answer after a swap is the new model's."""
    engine, models = InferenceEngine(DataCache()), [load(weight) for weight in (1.0, 2.0, 3.0)]
    engine.swap(models[0])
    wrong, done = [], threading.Event()

    def ask() -> None:
        while not done.is_set():
            before = engine.model
            found = engine.process(seen(1, 0, 0, 0))[0, 0]
            after = engine.model
            if before is after and f"a-{found}" != after.artifact:
                wrong.append((found, after.artifact))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for each in threads:
        each.start()
    for turn in range(200):
        engine.swap(models[turn % 3])
        assert engine.process(seen(1, 0, 0, 0))[0, 0] == turn % 3 + 1
    done.set()
    for each in threads:
        each.join()

    assert wrong == []
