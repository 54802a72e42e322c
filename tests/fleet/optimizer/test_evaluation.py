"""What is said of outputs: of each by itself, of classes, of how smooth a policy is."""

import msgspec
import numpy as np
import pytest

from fleet.optimizer import benchmark, evaluation
from fleet.optimizer.errors import PassError
from fleet.optimizer.evaluation import Figures
from tests.fleet.optimizer.tiny_world import CARD


def test_each_output_is_compared_by_itself():
    expected = [{"score": np.array([[1.0, 2.0]]), "box": np.array([3.0, 4.0, 5.0])} for _ in range(4)]
    found = [{"score": np.array([[1.0, 2.0]]), "box": np.array([3.0, 4.0, 5.5])} for _ in range(4)]
    figures = Figures(bytes=1)
    evaluation.compare(found, expected, figures)
    assert figures.outputs["score"] == {"cosine": pytest.approx(1), "max_error": 0, "mean_error": 0, "agreement": 1}
    assert figures.outputs["box"]["max_error"] == 0.5
    assert figures.max_error == 0.5
    assert figures.mean_error == pytest.approx(0.1)


def test_a_changed_shape_and_a_missing_output_are_named():
    with pytest.raises(PassError, match="the output y has the shape"):
        evaluation.compare([{"y": np.zeros(2)}], [{"y": np.zeros(3)}], Figures(bytes=1))
    with pytest.raises(PassError, match="the outputs are"):
        evaluation.compare([{"x": np.zeros(2)}], [{"y": np.zeros(2)}], Figures(bytes=1))


def test_nan_is_found_and_no_figure_hides_it():
    figures = Figures(bytes=1)
    evaluation.compare([{"y": np.array([np.nan, 1.0])}], [{"y": np.zeros(2)}], figures)
    assert not figures.finite
    assert figures.cosine == 0


def test_right_answers_are_class_numbers_or_scores():
    outputs = [{"y": np.array([[0.1, 0.9, 0.0]])}, {"y": np.array([[0.7, 0.2, 0.1]])}]
    numbers = [{"y": np.array(1)}, {"y": np.array(2)}]
    scores = [{"y": np.array([0.0, 1.0, 0.0])}, {"y": np.array([0.9, 0.1, 0.0])}]
    assert evaluation.rightness(outputs, numbers).tolist() == [True, False]
    assert evaluation.rightness(outputs, scores).tolist() == [True, True]
    assert evaluation.rightness([{"y": np.zeros((1, 4, 4))}], [{"y": np.zeros((1, 4, 4))}]) is None


def test_a_shaking_chunk_is_jerkier_and_what_the_limits_cut_off_is_counted():
    card = msgspec.structs.replace(
        CARD, actions=msgspec.structs.replace(CARD.actions, chunk=6, size=1, low=(-1.0,), high=(1.0,), execute=6)
    )
    smooth, shaking = np.linspace(0, 1, 6), np.array([0.0, 1.5, 0.0, 1.5, 0.0, 1.5])
    told = []
    for chunk in (smooth, shaking):
        figures = Figures(bytes=1)
        evaluation.smoothness(figures, [{card.actions.output: chunk[None, :, None]}], card)
        told.append((figures.jerk, figures.out_of_range))
    assert told[0] == (pytest.approx(0, abs=1e-12), 0)
    assert told[1][0] == pytest.approx(6)
    assert told[1][1] == 0.5


def test_joules_come_from_the_packages_and_are_unknown_where_there_are_none(tmp_path):
    assert benchmark.joules(tmp_path) is None
    for name, used in (("intel-rapl:0", 2_000_000), ("intel-rapl:1", 500_000), ("intel-rapl:0:0", 9)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{used}\n")
    assert benchmark.joules(tmp_path) == 2.5
