"""What changes an ONNX file: each variant is loaded by the device's own runtime and compared."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from agent.inference import runtimes
from fleet.optimizer import onnx_file
from fleet.optimizer.errors import PassError
from fleet.optimizer.inputs import split
from fleet.optimizer.passes.quantize import Quantize, choose_sensitive, layers, quantize
from fleet.optimizer.passes.simplify import simplify
from fleet.optimizer.passes.store import Store, narrowed, output_axes, store
from tests.fleet.optimizer import tiny_world


@pytest.fixture(scope="module")
def samples():
    return split(next(tiny_world.batches(tiny_world.CARD, 32, 50)))


def answers(path, samples) -> np.ndarray:
    model = runtimes.load(path)
    return np.concatenate([model.run(feeds)["actions"] for feeds in samples])


def saved(model, path):
    path.write_bytes(model.SerializeToString())
    return path


class TestExport:
    def test_it_agrees_with_the_program_and_takes_any_batch_as_it_does(self, tiny_onnx, tiny_policy, samples):
        import torch

        with torch.inference_mode():
            expected = [tiny_policy(**{k: torch.from_numpy(v) for k, v in feeds.items()}).numpy() for feeds in samples]
        assert np.abs(answers(tiny_onnx, samples) - np.concatenate(expected)).max() < 1e-5
        model = onnx.load(tiny_onnx)
        assert [(spec.name, spec.shape) for spec in onnx_file.specs(model)] == [
            ("image", (None, 3, 8, 8)),
            ("tokens", (None, 4)),
            ("state", (None, 3)),
        ]
        assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"
        three = {name: np.repeat(array, 3, 0) for name, array in samples[0].items()}
        assert np.abs(answers(tiny_onnx, [three]) - np.repeat(expected[0], 3, 0)).max() < 1e-5

    def test_nothing_tells_of_the_machine_that_made_it(self, tiny_onnx):
        data = tiny_onnx.read_bytes()
        for trace in (b'File \\"', b"site-packages", b"stack_trace", b"TinyPolicy", b"pkg.torch"):
            assert trace not in data

    def test_weights_keep_their_names_also_where_the_exporter_transposed_them(self, tiny_onnx, tiny_policy):
        found = {tensor.name for tensor in onnx.load(tiny_onnx).graph.initializer}
        assert {name for name, weight in tiny_policy.named_parameters() if weight.numel() >= 512} <= found


class TestStore:
    @pytest.mark.parametrize(("bits", "smaller", "error"), [(16, 1.7, 1e-3), (8, 2.6, 0.02)])
    def test_the_file_shrinks_and_the_answers_stay(self, tiny_onnx, tmp_path, samples, bits, smaller, error):
        model = onnx.load(tiny_onnx)
        model = narrowed(model, Store(bits=bits))
        onnx.checker.check_model(model)
        path = saved(model, tmp_path / "stored.onnx")
        assert tiny_onnx.stat().st_size / path.stat().st_size > smaller
        gap = np.abs(answers(path, samples) - answers(tiny_onnx, samples)).max()
        assert 0 < gap < error

    def test_the_runtime_computes_in_float32_all_the_same(self, tiny_onnx, tmp_path):
        """Folded when it is loaded: the optimized graph has no node that widens anything."""
        import onnxruntime

        model = onnx.load(tiny_onnx)
        model = narrowed(model, Store(bits=8))
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(
            str(saved(model, tmp_path / "stored.onnx")), options, providers=["CPUExecutionProvider"]
        )
        optimized = onnx.load(tmp_path / "optimized.onnx")
        widened = {tensor.name for tensor in optimized.graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
        assert not widened
        assert not any(node.name.endswith((".widen", ".rescale")) for node in optimized.graph.node)

    def test_every_kind_of_weight_knows_its_output_channels(self):
        tensors = [
            numpy_helper.from_array(np.ones(shape, np.float32), name)
            for name, shape in (("m", (8, 4)), ("g", (4, 8)), ("c", (16, 3, 3, 3)), ("e", (100, 8)), ("both", (8, 8)))
        ]
        nodes = [
            helper.make_node("MatMul", ["x", "m"], ["a"]),
            helper.make_node("Gemm", ["x", "g"], ["b"], transB=1),
            helper.make_node("Conv", ["i", "c"], ["d"]),
            helper.make_node("Gather", ["e", "t"], ["f"]),
            helper.make_node("MatMul", ["x", "both"], ["h"]),
            helper.make_node("Gemm", ["x", "both"], ["j"], transB=1),
        ]
        model = helper.make_model(helper.make_graph(nodes, "g", [], [], tensors))
        assert output_axes(model.graph) == {"m": 1, "g": 0, "c": 0, "e": 0}

    def test_a_matrix_that_cannot_bear_int8_is_stored_in_fp16_and_named(self, tmp_path):
        """Each row of one matrix has a number 1,000 times the others', which then take one of 127 steps or none."""
        random = np.random.default_rng(0)
        hard = random.normal(0, 1, (64, 64)).astype(np.float32)
        hard[0] *= 1000
        weights = {"easy": random.normal(0, 0.1, (64, 64)).astype(np.float32), "hard": hard}
        nodes = [helper.make_node("MatMul", ["x", "easy"], ["h"]), helper.make_node("MatMul", ["h", "hard"], ["y"])]
        values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 64]) for name in ("x", "y")]
        graph = helper.make_graph(
            nodes, "g", values[:1], values[1:], [numpy_helper.from_array(w, name) for name, w in weights.items()]
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        # What comes out of the easy one has nothing where the hard one's large numbers are.
        model.graph.initializer[0].CopyFrom(
            numpy_helper.from_array(weights["easy"] * (np.arange(64) > 0).astype("f4"), "easy")
        )
        samples = [{"x": random.normal(0, 1, (1, 64)).astype(np.float32)} for _ in range(20)]
        stored, notes = store(Store(bits=8), model, tmp_path, samples)
        assert notes == ["stored in fp16, measured as sensitive: hard"]
        assert {t.name for t in stored.graph.initializer} >= {"easy.int8", "hard.fp16"}
        everywhere, notes = store(Store(bits=8, keep_sensitive=False), model, tmp_path, samples)
        assert not notes
        assert {t.name for t in everywhere.graph.initializer} >= {"easy.int8", "hard.int8"}

    def test_what_no_float16_can_hold_stays_as_it_is(self):
        tensor = numpy_helper.from_array(np.full(300, 1e6, np.float32), "large")
        model = helper.make_model(
            helper.make_graph([helper.make_node("Add", ["x", "large"], ["y"])], "g", [], [], [tensor])
        )
        model = narrowed(model, Store(bits=16))
        assert [each.name for each in model.graph.initializer] == ["large"]


class TestQuantize:
    def test_it_computes_in_eight_bits_and_still_answers_alike(self, tiny_onnx, tmp_path, samples):
        model, _ = quantize(Quantize(keep_sensitive=False), onnx.load(tiny_onnx), tmp_path, samples)
        kinds = {node.op_type for node in model.graph.node}
        assert "MatMulInteger" in kinds
        path = saved(model, tmp_path / "int8.onnx")
        assert path.stat().st_size < 0.7 * tiny_onnx.stat().st_size
        assert np.abs(answers(path, samples) - answers(tiny_onnx, samples)).max() < 0.2

    def test_what_suffers_most_is_left_out_and_named(self, tiny_onnx, tmp_path, samples):
        everywhere, _ = quantize(Quantize(keep_sensitive=False), onnx.load(tiny_onnx), tmp_path, samples)
        chosen, notes = quantize(Quantize(max_kept=0.6), onnx.load(tiny_onnx), tmp_path, samples)
        assert len(notes) == 1
        assert notes[0].startswith("left in float32, measured as sensitive: ")
        expected = answers(tiny_onnx, samples)

        def error(model, name):
            return np.square(answers(saved(model, tmp_path / name), samples) - expected).sum()

        assert error(chosen, "chosen.onnx") < error(everywhere, "everywhere.onnx")

    def test_layers_are_grouped_by_what_their_names_have_in_common(self):
        weights = [f"vision.blocks.{i}.{part}.weight" for i in range(4) for part in ("query", "key", "up", "down")]
        tensors = [numpy_helper.from_array(np.ones((32, 32), np.float32), name) for name in weights]
        nodes = [helper.make_node("MatMul", ["x", name], [f"y{i}"], name=f"n{i}") for i, name in enumerate(weights)]
        model = helper.make_model(helper.make_graph(nodes, "g", [], [], tensors))
        groups = layers(model, ["MatMul"])
        assert list(groups) == [f"vision.blocks.{i}" for i in range(4)]
        assert groups["vision.blocks.1"].items == ["n4", "n5", "n6", "n7"]
        assert groups["vision.blocks.1"].size == 4 * 32 * 32 * 4

    def test_the_worst_go_first_until_little_error_is_left(self):
        sizes = dict.fromkeys("abcd", 100)
        errors = {"a": 1.0, "b": 6.0, "c": 2.5, "d": 0.5}
        assert choose_sensitive(Quantize(keep_error=0.5, max_kept=1), errors, sizes) == ["b"]
        assert choose_sensitive(Quantize(keep_error=0.2, max_kept=1), errors, sizes) == ["b", "c"]
        assert choose_sensitive(Quantize(keep_error=0.01, max_kept=0.25), errors, sizes) == ["b"]

    def test_a_model_without_fixed_weights_says_so(self, tmp_path):
        model = helper.make_model(helper.make_graph([helper.make_node("MatMul", ["x", "z"], ["y"])], "g", [], []))
        with pytest.raises(PassError, match="no matrix multiplication"):
            quantize(Quantize(), model, tmp_path, [])


class TestTidy:
    def test_constants_become_initializers_and_what_is_unused_goes(self):
        constant = numpy_helper.from_array(np.ones((4, 4), np.float32))
        nodes = [
            helper.make_node("Constant", [], ["w"], value=constant),
            helper.make_node("MatMul", ["x", "w"], ["y"]),
        ]
        unused = numpy_helper.from_array(np.ones(9, np.float32), "unused")
        value = helper.make_tensor_value_info("x", 1, [1, 4])
        out = helper.make_tensor_value_info("y", 1, [1, 4])
        model = helper.make_model(helper.make_graph(nodes, "g", [value], [out], [unused]))
        onnx_file.tidy(model)
        assert [node.op_type for node in model.graph.node] == ["MatMul"]
        assert [tensor.name for tensor in model.graph.initializer] == ["w"]
        assert all(node.name for node in model.graph.node)

    def test_free_sizes_and_scalars_are_seen_as_they_are(self):
        values = [helper.make_tensor_value_info(*each) for each in (("x", 1, ["batch", 4]), ("rate", 7, []))]
        model = helper.make_model(helper.make_graph([], "g", values, []))
        assert [(spec.shape, spec.words) for spec in onnx_file.specs(model)] == [((None, 4), "[any, 4]"), ((), "[]")]

    def test_an_input_that_is_no_tensor_is_refused_by_name(self):
        from fleet.optimizer.errors import IntakeError

        value = helper.make_tensor_sequence_value_info("frames", 1, [1, 4])
        model = helper.make_model(helper.make_graph([], "g", [value], []))
        with pytest.raises(IntakeError, match="'frames' is no tensor but sequence"):
            onnx_file.specs(model)


class TestSimplify:
    @pytest.fixture
    def roundabout(self):
        """As older exporters wrote it: a weight that is computed from two constants."""
        halves = [numpy_helper.from_array(np.full((4, 2), each, np.float32), f"h{each}") for each in (1, 2)]
        nodes = [
            helper.make_node("Concat", ["h1", "h2"], ["w"], axis=1),
            helper.make_node("Identity", ["x"], ["same"]),
            helper.make_node("MatMul", ["same", "w"], ["y"]),
        ]
        value, out = (helper.make_tensor_value_info(name, 1, [1, 4]) for name in ("x", "y"))
        model = helper.make_model(
            helper.make_graph(nodes, "g", [value], [out], halves), opset_imports=[helper.make_opsetid("", 18)]
        )
        model.ir_version = 10
        return model

    def test_what_is_constant_is_folded(self, roundabout, tmp_path):
        simple, notes = simplify(roundabout, tmp_path, [{"x": np.ones((1, 4), np.float32)}])
        assert [node.op_type for node in simple.graph.node] == ["MatMul"]
        assert notes == ["simplified from 3 to 1 nodes"]

    def test_what_would_change_the_answers_is_not_used(self, roundabout, tmp_path, monkeypatch):
        import onnxslim

        def wrong(model):
            numbers = numpy_helper.from_array(np.zeros((4, 2), np.float32), "h1")
            model.graph.initializer[0].CopyFrom(numbers)
            return model

        monkeypatch.setattr(onnxslim, "slim", wrong)
        same, notes = simplify(roundabout, tmp_path, [{"x": np.ones((1, 4), np.float32)}])
        assert same is roundabout
        assert notes == ["not simplified: it would change the outputs by 4"]
