import pickle
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from fleet.optimizer.errors import IntakeError
from fleet.optimizer.inputs import InputSpec, examine, read, synthetic
from fleet.optimizer.intake import accept, check_onnx


def onnx_model(**changes) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    return model


def saved(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


class TestAccept:
    def test_both_formats_are_told_by_content(self, tiny_pt2, tiny_onnx, tmp_path):
        assert accept(tiny_pt2, "policy.pt2").format == "pt2"
        assert accept(tiny_onnx, "policy.onnx").format == "onnx"
        plain = tmp_path / "0a1b"
        plain.write_bytes(tiny_onnx.read_bytes())
        found = accept(plain, plain.name)
        assert (found.format, found.size) == ("onnx", tiny_onnx.stat().st_size)

    def test_a_pickle_is_refused_whatever_its_name(self, tmp_path):
        for protocol in (2, 3, 4, 5):
            path = tmp_path / f"{protocol}.onnx"
            path.write_bytes(pickle.dumps({"weights": [1.0]}, protocol=protocol))
            for name in ("model.onnx", "model.pt2"):
                with pytest.raises(IntakeError, match="is a pickle"):
                    accept(path, name)

    @pytest.mark.parametrize("old", [False, True])
    def test_what_torch_save_writes_is_refused(self, tmp_path, old):
        torch.save({"w": torch.zeros(3)}, tmp_path / "model.pt2", _use_new_zipfile_serialization=not old)
        with pytest.raises(IntakeError, match="is a pickle"):
            accept(tmp_path / "model.pt2", "model.pt2")

    def test_other_files_are_told_what_they_are(self, tmp_path):
        save_file({"w": np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
        for path, data, sentence in (
            ("model.safetensors", None, "weights without a program"),
            ("model.onnx", b"\x1f\x8b\x08" + bytes(50), "is compressed"),
            ("model.tflite", b"\x1c\x00\x00\x00TFL3" + bytes(50), "TensorFlow Lite"),
            ("empty.onnx", b"", "is empty"),
            ("page.onnx", b"<!doctype html><title>404</title>", "neither"),
        ):
            if data is not None:
                (tmp_path / path).write_bytes(data)
            with pytest.raises(IntakeError, match=sentence):
                accept(tmp_path / path, path)

    def test_a_name_that_says_another_format_is_refused(self, tiny_onnx):
        with pytest.raises(IntakeError, match=r"holds a \.onnx model"):
            accept(tiny_onnx, "policy.pt2")

    @pytest.mark.parametrize("name", ["../policy.onnx", "a/b.onnx", "a\\b.onnx", "a\nb.onnx", "a\x00.onnx", "x" * 300])
    def test_hostile_names_are_refused(self, tiny_onnx, name):
        with pytest.raises(IntakeError, match="file name"):
            accept(tiny_onnx, name)

    def test_a_link_is_refused(self, tiny_onnx, tmp_path):
        (tmp_path / "policy.onnx").symlink_to(tiny_onnx)
        with pytest.raises(IntakeError, match="no plain file"):
            accept(tmp_path / "policy.onnx", "policy.onnx")

    def test_a_cut_off_archive_is_refused(self, tiny_pt2, tmp_path):
        (tmp_path / "cut.pt2").write_bytes(tiny_pt2.read_bytes()[:5000])
        with pytest.raises(IntakeError, match="cut off"):
            accept(tmp_path / "cut.pt2", "cut.pt2")


class TestOnnx:
    def test_a_valid_model_passes(self, tiny_onnx, tmp_path):
        check_onnx(tiny_onnx)
        check_onnx(saved(onnx_model(), tmp_path / "m.onnx"))

    @pytest.mark.parametrize("location", ["../../etc/passwd", "/etc/passwd", "weights.bin", "link"])
    def test_weights_in_another_file_are_refused(self, tmp_path, location):
        (tmp_path / "weights.bin").write_bytes(bytes(64))
        (tmp_path / "link").symlink_to("/etc/passwd")
        model = onnx_model()
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", location
        with pytest.raises(IntakeError, match="lies in another file"):
            check_onnx(saved(model, tmp_path / "m.onnx"))

    @pytest.mark.parametrize("dims", [[2**60], [2**31, 2**31], [-1, 4]])
    def test_a_weight_of_impossible_size_is_refused(self, tmp_path, dims):
        model = onnx_model()
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)
        with pytest.raises(IntakeError, match=r"elements|negative size"):
            check_onnx(saved(model, tmp_path / "m.onnx"))

    def test_an_input_of_impossible_size_is_refused(self, tmp_path):
        model = onnx_model()
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2**60
        with pytest.raises(IntakeError, match="elements"):
            check_onnx(saved(model, tmp_path / "m.onnx"))

    def test_a_constant_of_impossible_size_deep_inside_is_refused(self, tmp_path):
        model = onnx_model()
        huge = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[2**60])
        inner = helper.make_graph(
            [helper.make_node("Constant", [], ["c"], value=huge)],
            "inner",
            [],
            [helper.make_tensor_value_info("c", TensorProto.FLOAT, None)],
        )
        model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner))
        with pytest.raises(IntakeError, match="elements"):
            check_onnx(saved(model, tmp_path / "m.onnx"))

    def test_operators_that_nobody_has_are_refused(self, tmp_path):
        model = onnx_model()
        model.opset_import.append(helper.make_opsetid("evil.ops", 1))
        with pytest.raises(IntakeError, match=r"'evil\.ops', which no device here has"):
            check_onnx(saved(model, tmp_path / "m.onnx"))

    def test_a_graph_that_makes_no_sense_is_refused(self, tmp_path):
        model = onnx_model()
        model.graph.node[0].input[0] = "nowhere"
        with pytest.raises(IntakeError, match="checker refuses"):
            check_onnx(saved(model, tmp_path / "m.onnx"))

    @pytest.mark.parametrize("kept", [0.95, 0.5])
    def test_a_truncated_model_is_refused(self, tiny_onnx, tmp_path, kept):
        data = tiny_onnx.read_bytes()
        (tmp_path / "cut.onnx").write_bytes(data[: int(kept * len(data))])
        with pytest.raises(IntakeError):
            check_onnx(tmp_path / "cut.onnx")


class TestEvaluationSet:
    SPECS = (InputSpec("state", "float32", (1, 3)), InputSpec("tokens", "int64", (1, 4)))

    def test_a_batch_axis_is_added_where_the_model_has_one_more(self, tmp_path):
        np.savez(tmp_path / "e.npz", state=np.zeros((5, 3)), tokens=np.ones((5, 1, 4), np.int32))
        assert examine(tmp_path / "e.npz") == 5
        samples = read(tmp_path / "e.npz", self.SPECS).feeds
        assert [sample["state"].shape for sample in samples] == [(1, 3)] * 5
        assert samples[0]["state"].dtype == np.float32
        assert samples[0]["tokens"].shape == (1, 4)

    def test_free_sizes_take_what_comes_and_scalars_are_one_request_each(self, tmp_path):
        specs = (InputSpec("audio", "float32", (None, None)), InputSpec("rate", "int64", ()))
        np.savez(tmp_path / "e.npz", audio=np.zeros((4, 512)), rate=np.full(4, 16000))
        samples = read(tmp_path / "e.npz", specs).feeds
        assert [each["audio"].shape for each in samples] == [(1, 512)] * 4
        assert samples[0]["rate"].shape == ()

    def test_safetensors_are_read_too_and_right_answers_are_kept_apart(self, tmp_path):
        from safetensors.numpy import save_file

        arrays = {"state": np.ones((5, 3), np.float32), "tokens": np.ones((5, 4), np.int64)}
        save_file({**arrays, "expected/actions": np.arange(5.0)}, tmp_path / "e.safetensors")
        assert examine(tmp_path / "e.safetensors") == 5
        found = read(tmp_path / "e.safetensors", self.SPECS)
        assert found.feeds[0]["state"].shape == (1, 3)
        assert [float(each["actions"]) for each in found.expected] == [0, 1, 2, 3, 4]

    def test_a_size_that_nobody_named_cannot_be_made_up(self):
        with pytest.raises(IntakeError, match=r"'audio' has no fixed size in dimension 1: bring an evaluation set"):
            synthetic([InputSpec("audio", "float32", (None, None))], None)

    def test_pickled_objects_are_refused(self, tmp_path):
        np.savez(tmp_path / "e.npz", allow_pickle=True, state=np.array([{"a": 1}], object))
        with pytest.raises(IntakeError, match="pickled objects"):
            examine(tmp_path / "e.npz")

    def test_an_array_that_claims_more_than_it_holds_is_refused(self, tmp_path):
        np.save(tmp_path / "a.npy", np.zeros(8, np.float32))
        data = (tmp_path / "a.npy").read_bytes().replace(b"(8,), }", b"(8000000000,), }"[:16])
        with zipfile.ZipFile(tmp_path / "e.npz", "w") as file:
            file.writestr("state.npy", data)
        with pytest.raises(IntakeError, match=r"claims the shape|neither an \.npz"):
            examine(tmp_path / "e.npz")

    def test_a_bomb_is_refused_by_its_directory(self, tmp_path):
        with (
            zipfile.ZipFile(tmp_path / "e.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
            file.open("state.npy", "w", force_zip64=True) as stream,
        ):
            for _ in range(300):
                stream.write(bytes(8 * 1024**2))
        assert (tmp_path / "e.npz").stat().st_size < 16 * 1024**2
        with pytest.raises(IntakeError, match="the limits are"):
            examine(tmp_path / "e.npz")

    @pytest.mark.parametrize(
        ("arrays", "sentence"),
        [
            ({"state": np.zeros((5, 3))}, "the model also takes tokens"),
            ({"state": np.zeros((5, 3)), "tokens": np.zeros((4, 4))}, "same number of samples"),
            ({"state": np.zeros((5, 7)), "tokens": np.zeros((5, 4))}, r"has the shape \[7\], the model takes \[1, 3\]"),
            ({"state": np.zeros((0, 3)), "tokens": np.zeros((0, 4))}, "at least one"),
        ],
    )
    def test_what_does_not_fit_the_model_is_explained(self, tmp_path, arrays, sentence):
        np.savez(tmp_path / "e.npz", **arrays)
        with pytest.raises(IntakeError, match=sentence):
            read(tmp_path / "e.npz", self.SPECS)

    def test_no_archive_at_all_is_refused(self, tmp_path):
        (tmp_path / "e.npz").write_bytes(b"hello")
        with pytest.raises(IntakeError, match=r"neither an \.npz nor"):
            examine(tmp_path / "e.npz")
