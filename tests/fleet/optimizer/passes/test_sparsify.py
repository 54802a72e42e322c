"""Zeros: where they matter least, as many as asked for, and only the sending is cheaper for it."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from fleet.optimizer.benchmark import size
from fleet.optimizer.errors import PassError
from fleet.optimizer.evaluation import Figures
from fleet.optimizer.inputs import split
from fleet.optimizer.passes import parts
from fleet.optimizer.passes.sparsify import Sparsify, least, sparsify
from fleet.optimizer.passes.store import Store, narrowed
from tests.fleet.optimizer import tiny_world


def test_of_each_output_go_the_weights_that_are_small_or_have_small_inputs():
    weight = np.array([[3, 1], [2, 4], [-9, 0.5], [1, 3]], np.float32)  # a matrix: inputs by outputs
    norm = np.array([1, 1, 0.1, 10.0])
    gone = least(weight, norm, 0, 0.5)
    assert gone.tolist() == [[False, True], [True, False], [True, True], [False, False]]


def test_a_convolutions_outputs_are_its_first_axis():
    weight = np.arange(1, 17, dtype=np.float32).reshape(2, 2, 2, 2)
    gone = least(weight, np.ones(2), 1, 0.25)
    assert gone.sum() == 4
    assert np.flatnonzero(gone).tolist() == [0, 1, 8, 9]


def test_the_file_is_smaller_to_send_and_nothing_else(tiny_onnx, tmp_path):
    samples, folder = split(next(tiny_world.batches(tiny_world.CARD, 64, 3))), tmp_path
    plain = narrowed(onnx.load(tiny_onnx), Store(bits=8))
    zeroed, notes = sparsify(Sparsify(share=0.5), onnx.load(tiny_onnx), folder, samples)
    found = {}
    for name, model in (("plain", plain), ("zeros", narrowed(zeroed, Store(bits=8)))):
        onnx.save(model, folder / f"{name}.onnx")
        found[name] = Figures(bytes=0)
        size(found[name], folder / f"{name}.onnx")
    assert found["zeros"].bytes == found["plain"].bytes
    assert found["zeros"].compressed_bytes < 0.9 * found["plain"].compressed_bytes
    assert "smaller to send" in notes[0]
    for before, after in zip(onnx.load(tiny_onnx).graph.initializer, zeroed.graph.initializer, strict=True):
        old, new = numpy_helper.to_array(before), numpy_helper.to_array(after)
        assert ((new == old) | (new == 0)).all(), "what stays is as it was"


def test_parts_have_shares_of_their_own():
    assert parts.of("vision.blocks.0", (("vision.", 0.1), ("vision.blocks", 0.2)), 0.5) == 0.2
    assert parts.of("action.head", (("vision.", 0.1),), 0.5) == 0.5


def test_a_model_with_nothing_to_zero_says_so(tmp_path):
    model = helper.make_model(helper.make_graph([helper.make_node("MatMul", ["x", "z"], ["y"])], "g", [], []))
    with pytest.raises(PassError, match="no multiplication with fixed weights"):
        sparsify(Sparsify(share=0.5), model, tmp_path, [])
