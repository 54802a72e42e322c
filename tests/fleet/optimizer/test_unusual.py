"""Models that are unusual and valid work; those that cannot be served are refused by the name of what is wrong."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from django.core.management import CommandError, call_command
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[3]
RANDOM = np.random.default_rng(0)
SAMPLES = 16


def weight(name: str, *shape: int, dtype: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(RANDOM.normal(0, 0.1, shape).astype(dtype), name)


def value(name: str, kind: int, shape: list | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes, inputs, outputs, weights, opset: int = 17, ir_version: int = 8) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "unusual", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def layers(opset: int, ir_version: int, kind: int = TensorProto.FLOAT, dtype: type = np.float32) -> onnx.ModelProto:
    weights = [weight("a", 64, 128, dtype=dtype), weight("b", 128, 32, dtype=dtype)]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "b"], ["y"]),
    ]
    inputs = [value("x", kind, [None, 64])]
    if ir_version < 4:  # where weights had to be inputs, too
        inputs += [value(each.name, kind, list(each.dims)) for each in weights]
    return model(nodes, inputs, [value("y", kind, [None, 32])], weights, opset, ir_version)


def looped() -> onnx.ModelProto:
    """As many rounds as it is told, with the weight inside the loop."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["s", "w"], ["m"]),
            helper.make_node("Tanh", ["m"], ["s2"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("s", TensorProto.FLOAT, None)],
        [value("on", TensorProto.BOOL, []), value("s2", TensorProto.FLOAT, None)],
        [weight("w", 64, 64)],
    )
    inputs = [value("x", TensorProto.FLOAT, [1, 64]), value("steps", TensorProto.INT64, [])]
    node = helper.make_node("Loop", ["steps", "", "x"], ["y"], body=body)
    return model([node], inputs, [value("y", TensorProto.FLOAT, [1, 64])], [])


def chosen() -> onnx.ModelProto:
    """One of two branches, each with weights of its own."""
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("MatMul", ["x", f"w{name}"], [f"y{name}"])],
            name,
            [],
            [value(f"y{name}", TensorProto.FLOAT, [1, 64])],
            [weight(f"w{name}", 64, 64)],
        )
        for name in ("then", "else")
    }
    inputs = [value("x", TensorProto.FLOAT, [1, 64]), value("which", TensorProto.BOOL, [])]
    node = helper.make_node("If", ["which"], ["y"], **branches)
    return model([node], inputs, [value("y", TensorProto.FLOAT, [1, 64])], [])


def kinds() -> onnx.ModelProto:
    """Whole numbers of 32 bits, a single number, a truth value."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["g"]),
        helper.make_node("ReduceMean", ["g"], ["p"], axes=[1], keepdims=0),
        helper.make_node("Cast", ["times"], ["t"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["p", "t"], ["q"]),
        helper.make_node("Where", ["flag", "q", "p"], ["z"]),
        helper.make_node("MatMul", ["z", "a"], ["y"]),
    ]
    inputs = [
        value("ids", TensorProto.INT32, [None, 8]),
        value("times", TensorProto.INT32, []),
        value("flag", TensorProto.BOOL, []),
    ]
    return model(
        nodes, inputs, [value("y", TensorProto.FLOAT, [None, 16])], [weight("table", 500, 64), weight("a", 64, 16)]
    )


def any_size() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "l"], ["y"], pads=[1, 1, 1, 1]),
    ]
    ends = (value(name, TensorProto.FLOAT, ["n", channels, "h", "w"]) for name, channels in (("x", 3), ("y", 4)))
    return model(nodes, [next(ends)], [next(ends)], [weight("k", 32, 3, 3, 3), weight("l", 4, 32, 3, 3)])


ROWS = {"x": RANDOM.normal(0, 1, (SAMPLES, 64)).astype(np.float32)}


def unused() -> onnx.ModelProto:
    """Of old, where every weight is an input as well, with a weight that nothing reads."""
    made = layers(7, 3)
    extra = weight("unread", 8, 8)
    made.graph.initializer.append(extra)
    made.graph.input.append(value(extra.name, TensorProto.FLOAT, list(extra.dims)))
    return made


VALID = {
    "a weight that nothing reads": (unused(), ROWS),
    "operator set 7": (layers(7, 3), ROWS),
    "operator set 9": (layers(9, 4), ROWS),
    "operator set 23": (layers(23, 11), ROWS),
    "float64": (layers(17, 8, TensorProto.DOUBLE, np.float64), ROWS),
    "float16": (layers(17, 8, TensorProto.FLOAT16, np.float16), ROWS),
    "a loop": (looped(), {**ROWS, "steps": np.full(SAMPLES, 3)}),
    "a choice": (chosen(), {**ROWS, "which": np.arange(SAMPLES) % 2 == 0}),
    "kinds of inputs": (
        kinds(),
        {
            "ids": RANDOM.integers(0, 500, (SAMPLES, 8)),
            "times": np.full(SAMPLES, 2),
            "flag": np.arange(SAMPLES) % 2 == 0,
        },
    ),
    "any size": (any_size(), {"x": RANDOM.normal(0, 1, (SAMPLES, 3, 20, 28)).astype(np.float32)}),
}


def optimized(made: onnx.ModelProto, arrays: dict[str, np.ndarray] | None, folder: Path) -> dict:
    onnx.save(made, folder / "model.onnx")
    given = ["optimize", str(folder / "model.onnx"), "--class", "embedded", "--budget", "brief", "--out", str(folder)]
    if arrays is not None:
        np.savez(folder / "set.npz", **arrays)
        given += ["--evaluation", str(folder / "set.npz")]
    call_command(*given)
    return json.loads((folder / "report.json").read_bytes())


@pytest.mark.parametrize("name", VALID)
def test_what_is_valid_becomes_a_variant_that_takes_the_same_inputs(name, tmp_path):
    made, arrays = VALID[name]
    report = optimized(made, arrays, tmp_path)
    assert report["winner"]
    known = {tensor.name for tensor in made.graph.initializer}
    variant = onnx.load(tmp_path / "variant.onnx")
    assert [(each.name, each.type) for each in variant.graph.input] == [
        (each.name, each.type) for each in made.graph.input if each.name not in known
    ]
    narrow = {"float64", "float16"}  # whose weights are left as they are
    assert variant.ByteSize() < made.ByteSize() / 1.5 or name in narrow


@pytest.mark.parametrize(
    ("made", "arrays", "sentence"),
    [
        (
            layers(99, 8),
            ROWS,
            "the model uses operator set 99, the newest known here is .*: export it with an older one",
        ),
        (any_size(), None, "the input 'x' has no fixed size in dimension 2: bring an evaluation set"),
        (
            model(
                [helper.make_node("Identity", ["x"], ["y"])],
                [value("x", TensorProto.STRING, [1])],
                [value("y", TensorProto.STRING, [1])],
                [],
            ),
            None,
            "the input 'x' is text: let the model begin at the numbers made of it",
        ),
        (
            model(
                [helper.make_node("MatMul", ["x", "a"], ["y"])],
                [value("x", TensorProto.FLOAT, None)],
                [value("y", TensorProto.FLOAT, None)],
                [weight("a", 64, 64)],
            ),
            ROWS,
            "the input 'x' has no number of dimensions: export it with a shape",
        ),
        (layers(17, 8), {"x": ROWS["x"][:, :60]}, r"a sample of x has the shape \[60\], the model takes \[any, 64\]"),
        (layers(17, 8), {"z": ROWS["x"]}, "the evaluation set has z, the model also takes x"),
        (
            layers(17, 8),
            {"x": np.where(ROWS["x"] > 2, np.nan, ROWS["x"])},
            "the evaluation set's x holds NaN, first in",
        ),
        (layers(17, 8), {"x": np.full((4, 64), "a")}, "the evaluation set's x holds <U1, the model takes float32"),
        (kinds(), {"ids": np.full((4, 8), 0.5), "times": np.ones(4), "flag": np.ones(4)}, "ids holds fractions"),
        (layers(17, 8), {**ROWS, "expected/z": np.zeros(SAMPLES)}, "right answers for z; the model's outputs are y"),
        (
            layers(17, 8),
            {**ROWS, "expected/y": np.full(SAMPLES, 32)},
            "answer for y is class 32; the model has 0 to 31",
        ),
        (layers(17, 8), {**ROWS, "expected/y": np.zeros((SAMPLES, 5))}, "answer for y has 5 numbers; the model has 32"),
        (
            layers(17, 8),
            {**ROWS, "expected/y": np.full(SAMPLES, np.nan)},
            "the right answers for y hold float64 that is",
        ),
    ],
)
def test_what_cannot_be_served_names_what_is_wrong(made, arrays, sentence, tmp_path):
    with pytest.raises(CommandError, match=sentence):
        optimized(made, arrays, tmp_path)


def test_numbers_that_are_no_classes_make_no_episodes(tmp_path):
    made = layers(17, 8)
    told = RANDOM.normal(0, 1, (SAMPLES, 32))
    report = optimized(made, {**ROWS, "expected/y": told}, tmp_path)
    assert "success" not in report["trials"][0]["figures"]
    assert any("no classes" in line for line in report["log"])


def test_a_program_that_names_its_outputs_keeps_the_names(tmp_path):
    import torch

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Linear(64, 64)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            body = self.body(x)
            return {"value": body.sum(1, keepdim=True), "action": body[:, :6]}

    torch.export.save(torch.export.export(Two().eval(), (torch.zeros(1, 64),)), tmp_path / "two.pt2")
    np.savez(tmp_path / "set.npz", **ROWS)
    given = ["--class", "embedded", "--budget", "brief", "--evaluation", str(tmp_path / "set.npz")]
    call_command("optimize", str(tmp_path / "two.pt2"), *given, "--out", str(tmp_path))
    assert [each.name for each in onnx.load(tmp_path / "variant.onnx").graph.output] == ["value", "action"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--max-loss", "-1"], "the success loss limit is 0 to 100 points, not -1"),
        (["--max-latency", "nan"], "the latency limit is 0.001 to 60,000 ms, not nan"),
        (["--max-bytes", "-5"], "the size limit is 1 to 1,099,511,627,776 bytes, not -5"),
        (["--evaluator", "tabletop"], "an evaluator needs the policy card"),
        (["--part", "vision"], "--part takes NAME:bits=16,pruning=0.1, not 'vision'"),
        (["--part", "vision:bits=16"], "the policy card has no part 'vision'; it names none"),
    ],
)
def test_arguments_that_make_no_sense_end_it_before_it_begins(more, sentence, tmp_path):
    onnx.save(layers(17, 8), tmp_path / "model.onnx")
    with pytest.raises(CommandError, match=sentence):
        call_command("optimize", str(tmp_path / "model.onnx"), "--class", "mobile", "--out", str(tmp_path), *more)


def test_a_folder_that_cannot_be_written_is_found_before_the_search(tmp_path):
    onnx.save(layers(17, 8), tmp_path / "model.onnx")
    (tmp_path / "file").write_text("in the way")
    for out in ("file", "file/below"):
        with pytest.raises(CommandError, match=r"file.*(exists|Not a directory)"):
            call_command("optimize", str(tmp_path / "model.onnx"), "--class", "mobile", "--out", str(tmp_path / out))


def test_an_interrupted_search_says_so_and_leaves_nothing(tmp_path):
    onnx.save(layers(17, 8), tmp_path / "model.onnx")
    np.savez(tmp_path / "set.npz", **ROWS)
    command = [sys.executable, "manage.py", "optimize", str(tmp_path / "model.onnx"), "--class", "mobile"]
    command += ["--evaluation", str(tmp_path / "set.npz"), "--out", str(tmp_path / "out")]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(scratch)}
    ) as running:
        assert running.stderr is not None
        assert running.stderr.readline()
        running.send_signal(signal.SIGTERM)
        said = running.stderr.read()
    assert running.returncode == 130
    assert "stopped before it was done; with --cache FOLDER" in said
    assert "Traceback" not in said
    assert not list(scratch.iterdir())
