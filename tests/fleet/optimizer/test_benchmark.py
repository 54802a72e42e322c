"""Timing is only worth something when a copy comes out as fast as the original, and twice the work as slower."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from fleet.optimizer import benchmark
from fleet.optimizer.evaluation import Figures
from fleet.optimizer.inputs import split
from fleet.optimizer.passes.store import Store, narrowed
from tests.fleet.optimizer import tiny_world


@pytest.fixture(scope="module")
def samples():
    return split(next(tiny_world.batches(tiny_world.CARD, 16, 60)))


def test_a_copy_of_the_original_is_as_fast(tiny_onnx, tmp_path, samples):
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(tiny_onnx.read_bytes())
    figures = Figures(bytes=1)
    benchmark.latency(figures, copy, tiny_onnx, samples, 40)
    assert figures.ratio_low <= figures.ratio_p50 <= figures.ratio_high
    assert 0.85 < figures.ratio_p50 < 1.15
    assert 0 < figures.p50_ms <= figures.p95_ms


def test_one_that_does_more_is_slower(tiny_onnx, tmp_path, samples):
    """The same model with a large multiplication behind it."""
    model = onnx.load(tiny_onnx)
    model.graph.initializer.append(numpy_helper.from_array(np.eye(6, 900, dtype=np.float32), "wide"))
    model.graph.initializer.append(numpy_helper.from_array(np.full((900, 900), 1e-3, np.float32), "square"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 6]), "flat"))
    model.graph.node.extend(
        [
            helper.make_node("Reshape", ["actions", "flat"], ["row"]),
            helper.make_node("MatMul", ["row", "wide"], ["w0"]),
            *(helper.make_node("MatMul", [f"w{i}", "square"], [f"w{i + 1}"]) for i in range(6)),
        ]
    )
    model.graph.output.append(helper.make_tensor_value_info("w6", 1, [1, 900]))
    (tmp_path / "slow.onnx").write_bytes(model.SerializeToString())
    figures = Figures(bytes=1)
    benchmark.latency(figures, tmp_path / "slow.onnx", tiny_onnx, samples, 20)
    assert figures.ratio_low > 1.2


def test_memory_is_that_of_a_process_of_its_own(tiny_onnx, tmp_path, samples):
    np.savez(tmp_path / "s.npz", **{f"input/{name}": np.stack([s[name] for s in samples]) for name in samples[0]})
    figures = Figures(bytes=1)
    benchmark.memory(figures, tiny_onnx, tmp_path / "s.npz")
    assert 10 * 2**20 < figures.peak_bytes < 300 * 2**20
    assert 0 < figures.memory_bytes < figures.peak_bytes
    assert figures.load_ms > 0


def test_what_is_already_small_compresses_little(tiny_onnx, tmp_path):
    figures = Figures(bytes=0)
    benchmark.size(figures, tiny_onnx)
    assert figures.bytes == tiny_onnx.stat().st_size
    assert 0.5 * figures.bytes < figures.compressed_bytes < figures.bytes
    model = onnx.load(tiny_onnx)
    model = narrowed(model, Store(bits=8))
    (tmp_path / "small.onnx").write_bytes(model.SerializeToString())
    small = Figures(bytes=0)
    benchmark.size(small, tmp_path / "small.onnx")
    assert small.compressed_bytes < 0.7 * figures.compressed_bytes
