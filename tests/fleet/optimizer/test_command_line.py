import json

import pytest

from fleet.optimizer.__main__ import main
from tests.fleet.optimizer import tiny_world


def test_a_file_is_optimized_without_a_server(tiny_onnx, tmp_path, capsys):
    (tmp_path / "card.json").write_bytes(tiny_world.CARD_BYTES)
    out = tmp_path / "out"
    code = main([str(tiny_onnx), "--class", "edge_server", "--card", str(tmp_path / "card.json"), "--out", str(out)])
    assert code == 0
    printed = capsys.readouterr().out
    assert "fp16 storage" in printed
    assert "Without an evaluation set" in (out / "outcome.json").read_text()
    outcome = json.loads((out / "outcome.json").read_bytes())
    assert outcome["winner"] in {trial["name"] for trial in outcome["trials"]}
    for name in ("model.onnx", "card.json", "golden.npz", "facts.json"):
        assert (out / "winner" / name).is_file()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--pruning", "0.9"], "pruning is 0.9; it must lie between 0.1 and 0.5"),
        (["--goal", "best"], "the goal is one of"),
        (["--card", "/nowhere/card.json"], "No such file"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tiny_onnx, tmp_path, capsys, arguments, sentence):
    assert main([str(tiny_onnx), "--out", str(tmp_path), *arguments]) == 1
    assert sentence in capsys.readouterr().err


def test_a_file_that_is_no_model_is_refused(tmp_path, capsys):
    (tmp_path / "page.onnx").write_text("<html></html>")
    assert main([str(tmp_path / "page.onnx"), "--out", str(tmp_path)]) == 1
    assert "neither a torch.export archive" in capsys.readouterr().err
