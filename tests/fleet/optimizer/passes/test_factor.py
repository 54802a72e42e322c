"""Two narrow matrices for a wide one, in the metric of what flows through it."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from agent.inference import runtimes
from fleet.optimizer.errors import PassError
from fleet.optimizer.passes.factor import Factor, factor, factors

N, M = 96, 80


def random() -> np.random.Generator:
    return np.random.default_rng(5)


def test_inputs_of_few_dimensions_need_few_even_where_the_weight_is_full():
    source = random()
    weight = source.normal(size=(N, M))
    inputs = source.normal(size=(500, 8)) @ source.normal(size=(8, N))
    left, right, error = factors(weight, inputs.T @ inputs / 500, 0.01)
    assert left.shape[1] <= 8
    assert error <= 0.01
    found, wanted = inputs @ left @ right, inputs @ weight
    assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 0.011


def test_the_rank_is_the_least_that_keeps_the_error():
    source = random()
    weight = source.normal(size=(N, M))
    inputs = source.normal(size=(2000, N))
    moment = inputs.T @ inputs / len(inputs)
    for limit in (0.1, 0.3, 0.6):
        left, right, error = factors(weight, moment, limit)
        found, wanted = inputs @ left @ right, inputs @ weight
        assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted) == pytest.approx(error, abs=1e-3)
        assert error <= limit


def model_of(weight: np.ndarray) -> onnx.ModelProto:
    nodes = [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])]
    values = [helper.make_tensor_value_info(name, 1, [None, size]) for name, size in (("x", N), ("y", M))]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [numpy_helper.from_array(weight, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_a_model_with_room_becomes_smaller_and_answers_the_same(tmp_path):
    source = random()
    weight = (source.normal(size=(N, 6)) @ source.normal(size=(6, M))).astype(np.float32)
    samples = [{"x": source.normal(size=(1, N)).astype(np.float32)} for _ in range(32)]
    before = model_of(weight)
    onnx.save(before, tmp_path / "before.onnx")
    after, notes = factor(Factor(), before, tmp_path, samples)
    onnx.checker.check_model(after)
    onnx.save(after, tmp_path / "after.onnx")
    assert notes == [f"w: {N} x {M} to rank 6, relative error 0.000"]
    assert (tmp_path / "after.onnx").stat().st_size < (tmp_path / "before.onnx").stat().st_size / 4
    one, other = (runtimes.load(tmp_path / f"{name}.onnx") for name in ("before", "after"))
    for feeds in samples:
        assert np.abs(one.run(feeds)["y"] - other.run(feeds)["y"]).max() < 1e-3


def test_a_model_without_room_says_so(tmp_path):
    source = random()
    full = source.normal(size=(N, M)).astype(np.float32)
    samples = [{"x": source.normal(size=(1, N)).astype(np.float32)} for _ in range(64)]
    with pytest.raises(PassError, match="no layer's outputs lie close enough"):
        factor(Factor(max_error=0.01), model_of(full), tmp_path, samples)
