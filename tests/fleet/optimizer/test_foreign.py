"""Models that nobody here wrote: two published ONNX files on what they are made for, and a convolutional `.pt2`."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from django.core.management import CommandError, call_command

from fleet.demo.policy import ASSETS
from tests import foreign
from tests.foreign import answers


@pytest.fixture(scope="module")
def magika(tmp_path_factory) -> tuple[Path, Path]:
    return foreign.magika(tmp_path_factory.mktemp("magika"))


@pytest.fixture(scope="module")
def silero(tmp_path_factory) -> tuple[Path, Path]:
    return foreign.silero(tmp_path_factory.mktemp("silero"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> tuple[Path, Path]:
    return foreign.classifier(tmp_path_factory.mktemp("classifier"))


def optimized(given: tuple[Path, Path], out: Path, device_class: str = "embedded") -> dict:
    model, evaluation = given
    call_command("optimize", str(model), "--class", device_class, "--evaluation", str(evaluation), "--out", str(out))
    return json.loads((out / "report.json").read_bytes())


def signature(path: Path) -> list[tuple[str, int, list]]:
    """Names, types and sizes of inputs and outputs; a free size by its name, or as None where it has none."""
    graph = onnx.load(path).graph
    known = {tensor.name for tensor in graph.initializer}
    return [
        (
            value.name,
            value.type.tensor_type.elem_type,
            [size.dim_value if size.dim_value > 0 else None for size in value.type.tensor_type.shape.dim],
        )
        for value in (*graph.input, *graph.output)
        if value.name not in known
    ]


@pytest.mark.parametrize("published", ["magika", "silero"])
def test_a_published_model_becomes_a_smaller_one_that_stock_onnx_runtime_loads(request, tmp_path, published):
    model, evaluation = given = request.getfixturevalue(published)
    report = optimized(given, tmp_path)
    assert report["winner"] != "original"
    assert signature(tmp_path / "variant.onnx") == signature(model)
    assert (tmp_path / "variant.onnx").stat().st_size < model.stat().st_size / 1.9
    pairs = zip(answers(tmp_path / "variant.onnx", evaluation), answers(model, evaluation), strict=True)
    gaps = [float(np.abs(mine - theirs).max()) for mine, theirs in pairs]
    assert max(gaps) < 0.1, "scores between 0 and 1"
    assert all(trial["reason"] for trial in report["trials"])


def test_a_classifier_is_judged_by_its_right_answers(classifier, tmp_path):
    _, evaluation = classifier
    report = optimized(classifier, tmp_path)
    original, won = (
        next(trial for trial in report["trials"] if trial["name"] == name) for name in ("original", report["winner"])
    )
    assert original["figures"]["right"] > 0.9
    assert won["figures"]["bytes"] < original["figures"]["bytes"] / 1.9
    assert won["figures"]["loss_points"] <= 2
    assert won["figures"]["outputs"]["output"]["agreement"] > 0.95
    with np.load(evaluation) as file:
        right = file["expected/output"]
    found = np.array([scores.argmax() for scores in answers(tmp_path / "variant.onnx", evaluation)])
    assert (found == right).mean() == pytest.approx(won["figures"]["right"], abs=0.02)
    assert signature(tmp_path / "variant.onnx") == [("picture", 1, [None, 1, 16, 16]), ("output", 1, [None, 4])]


def test_the_page_shows_every_trial_without_anything_else(classifier, tmp_path):
    report = optimized(classifier, tmp_path, "edge_server")
    page = (tmp_path / "report.html").read_text()
    for trial in report["trials"]:
        assert trial["name"] in page
        assert trial["lineage"]["input"] == report["lineage"]["input"]
        assert trial["lineage"].get("machine", "") in page  # one that failed was measured nowhere
    shown = page.replace("\N{NO-BREAK SPACE}", " ")
    assert shown.count("All figures and lineage") == len(report["trials"])
    for words in (f'title="{report["lineage"]["input"]}"', "the same class in ", "Energy of a decision", "numpy"):
        assert words in shown
    assert report["gates"]["loss_points"] == 2.0
    assert "The mark must stay above the line, 2 points below the original" in shown
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page


def test_without_real_inputs_only_exact_storage_is_tried_and_said_so(magika, tmp_path, capsys):
    call_command("optimize", str(magika[0]), "--class", "mobile", "--out", str(tmp_path))
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert [trial["name"] for trial in report["trials"]] == ["original", "fp16 storage"]
    assert any("Without an evaluation set" in line for line in report["log"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--pruning", "0.9"], "pruning is 0.9; it must lie between 0.1 and 0.5"),
        (["--goal", "best"], "invalid choice: 'best'"),
        (["--card", "/nowhere/card.json"], "No such file"),
        (["--evaluation", "/nowhere/inputs.npz"], "No such file"),
        (["--evaluator", "nobody:evaluate", "--card", str(ASSETS / "card.json")], "is not installed"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(magika, tmp_path, words, sentence):
    with pytest.raises(CommandError, match=sentence):
        call_command("optimize", str(magika[0]), "--class", "embedded", "--out", str(tmp_path), *words)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "page.onnx").write_text("<html></html>")
    with pytest.raises(CommandError, match=r"neither a torch\.export archive"):
        call_command("optimize", str(tmp_path / "page.onnx"), "--class", "embedded", "--out", str(tmp_path))


def test_an_evaluation_set_for_another_model_is_explained(magika, classifier, tmp_path):
    with pytest.raises(CommandError, match=r"the evaluation set has .*picture, the model also takes bytes"):
        call_command(
            *("optimize", str(magika[0]), "--class", "embedded", "--out", str(tmp_path)),
            *("--evaluation", str(classifier[1])),
        )
