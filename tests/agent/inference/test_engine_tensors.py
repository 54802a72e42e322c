"""Tensors in, tensors out; models change between two requests."""

import threading

import numpy as np
import pytest

from agent.inference import inference_engine, runtimes
from agent.inference.data_cache import DataCache
from agent.inference.inference_engine import InferenceEngine, SwappedError
from agent.inference.meter import Meter
from agent.inference.policy_card import CardError
from agent.inference.runtimes import InputError
from tests.agent.inference.folders import folder_of
from tests.agent.inference.requests import fed, loader, seen
from tests.agent.variants import variant
from tests.agent.waiting import wait_for


@pytest.fixture
def load(tmp_path):
    return loader(tmp_path)


@pytest.mark.parametrize("with_card", [True, False])
def test_any_model_answers_tensors_with_tensors(load, with_card):
    engine = InferenceEngine()
    engine.swap(load(1000.0, with_card=with_card))

    assert engine.infer(fed(1, 2, 3, 4))["actions"].tolist() == [[[10_000.0] * 3] * 2], "no card's limits"


def test_a_model_without_a_card_says_what_an_observation_needs(load):
    engine, meter = InferenceEngine(DataCache()), Meter()
    engine.attach(meter)
    engine.swap(load(with_card=False))

    with pytest.raises(CardError, match=r"has no policy card.*Send it tensors, or upload it with a policy card"):
        engine.process(seen())
    assert meter.take().errors == 1


def test_a_model_without_a_card_warms_up_on_its_golden_observations(load, tmp_path):
    folder = folder_of(variant(with_card=False, deadline_ms=7.0), tmp_path / "bare")
    found = inference_engine.load(folder)
    assert (found.card, found.codec, found.name, found.deadline_ms) == (None, None, "bare", 100.0)

    (folder / "golden.npz").unlink()
    with pytest.raises(ValueError, match="golden observations cannot be read"):
        inference_engine.load(folder)


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({}, r"'state' is missing; the model takes 'state' \(float32 \[1, 4\]\)"),
        ({**fed(), "eyes": np.zeros(1)}, "no input 'eyes'"),
        ({"state": np.zeros((1, 4))}, r"is float64, the model takes float32 \[1, 4\]"),
        ({"state": np.zeros((1, 4), "U1")}, "the model takes float32"),
        ({"state": np.zeros((1, 5), np.float32)}, r"has the shape \[1, 5\], the model takes float32 \[1, 4\]"),
        ({"state": np.zeros(4, np.float32)}, r"has the shape \[4\]"),
        (fed(1, 2, 3, float("nan")), "'state' holds NaN"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_and_counted(load, feeds, words):
    engine, meter = InferenceEngine(), Meter()
    engine.attach(meter)
    engine.swap(load())

    with pytest.raises(InputError, match=words):
        engine.infer(feeds)
    assert meter.take().errors == 1


def test_tensors_of_nan_and_infinity_are_no_answer(load):
    engine, meter = InferenceEngine(), Meter()
    engine.attach(meter)
    engine.swap(load(poison=True))

    for lead in (0, float("inf")):
        with pytest.raises(FloatingPointError, match="NaN or infinity in 'actions'"):
            engine.infer(fed(lead, 1, 2, 3))
    assert meter.take().not_finite == 2


def test_tensors_are_metered_by_stage_and_never_cached(load):
    engine, meter = InferenceEngine(DataCache()), Meter()
    engine.attach(meter)
    engine.swap(load(loops=2))
    for _ in range(3):
        engine.infer(fed())

    window = meter.take()
    assert (window.decisions, window.cache_lookups) == (3, 0)
    assert window.stages.compute > window.stages.preprocess > 0
    assert window.stages.total == pytest.approx(sum(window.latencies) / 3)


def test_a_request_for_one_model_is_not_answered_by_another(load):
    engine, meter, old, new = InferenceEngine(), Meter(), load(2.0), load(3.0)
    engine.attach(meter)
    engine.swap(old)
    assert engine.infer(fed(), only=old)["actions"].max() == 20.0
    engine.swap(new)

    with pytest.raises(SwappedError):
        engine.infer(fed(), only=old)
    with pytest.raises(SwappedError):
        engine.process(seen(), only=old)
    assert (meter.look().decisions, meter.look().errors) == (1, 0), "nothing ran"


def test_a_swap_under_load_drops_no_tensors_and_mixes_no_two_models(load):
    engine, models = InferenceEngine(), [load(weight, with_card=weight != 2.0) for weight in (1.0, 2.0, 3.0)]
    engine.swap(models[0])
    answers, problems, done = [], [], threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                answers.append(engine.infer(fed(1, 0, 0, 0))["actions"])
            except Exception as problem:
                problems.append(problem)

    threads = [threading.Thread(target=ask) for _ in range(3)]
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
    assert all(len(set(each.ravel().tolist())) == 1 and each.ravel()[0] in (1, 2, 3) for each in answers)


@pytest.mark.parametrize("with_card", [True, False])
def test_a_model_has_run_before_it_decides(tmp_path, monkeypatch, with_card):
    """The first runs allocate: they are done while the model is loaded, beside the one that decides."""
    real = runtimes.load

    class Counting:
        def __init__(self, *how):
            self._runtime, self.runs = real(*how), 0
            self.inputs, self.outputs = self._runtime.inputs, self._runtime.outputs

        def run(self, feeds):
            self.runs += 1
            return self._runtime.run(feeds)

    monkeypatch.setattr(runtimes, "load", Counting)
    model = inference_engine.load(folder_of(variant(with_card=with_card), tmp_path / "a"))

    assert model.runtime.runs == inference_engine.WARM_UP
