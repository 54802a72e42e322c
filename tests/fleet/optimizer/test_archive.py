"""An uploaded .pt2 is rewritten before torch reads it. Each hostile one here is real, and would do harm unrewritten."""

import copy
import io
import pickle
import zipfile
from pathlib import Path

import msgspec
import pytest
import torch

from fleet.optimizer import graph
from fleet.optimizer.archive import rewrite
from fleet.optimizer.errors import IntakeError
from tests.fleet.optimizer.tiny import program_of, rebuilt, save

PROGRAM = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"


class Bomb:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def pickled(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def with_program(source: Path, target: Path, change) -> Path:
    program = copy.deepcopy(program_of(source))
    change(program)
    return rebuilt(source, target, {PROGRAM: msgspec.json.encode(program)})


def weights_of(source: Path) -> dict:
    with zipfile.ZipFile(source) as file:
        return msgspec.json.decode(file.read(f"{file.namelist()[0].split('/')[0]}/{WEIGHTS}"))


def feeds(count: int = 3) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    return torch.rand(count, 3, 8, 8), torch.randint(0, 4, (count, 4)), torch.rand(count, 3)


def test_the_rewritten_program_computes_the_same(tiny_pt2, tiny_policy, tmp_path):
    left_out = rewrite(tiny_pt2, tmp_path / "clean.pt2")
    assert "data/sample_inputs/model.pt" in left_out
    program = graph.load(tmp_path / "clean.pt2")
    with torch.inference_mode():
        torch.testing.assert_close(program.module(*feeds()), tiny_policy(*feeds()), atol=1e-6, rtol=0)


def test_a_fixed_batch_of_one_is_kept_and_known(tiny_policy, tmp_path):
    rewrite(save(tiny_policy, tmp_path / "one.pt2", free_batch=False), tmp_path / "clean.pt2")
    program = graph.load(tmp_path / "clean.pt2")
    assert not program.free_batch
    assert [(spec.name, spec.dtype, spec.shape) for spec in program.inputs] == [
        ("image", "float32", (1, 3, 8, 8)),
        ("tokens", "int64", (1, 4)),
        ("state", "float32", (1, 3)),
    ]


def test_shapes_that_are_computed_from_the_batch_pass_the_grammar(tmp_path):
    class Pairs(torch.nn.Module):
        def forward(self, image, tokens, state):
            both = torch.cat([state, 2 * state, state[:1]])
            return both.reshape(-1, 3)[: 2 * state.shape[0]] + image.mean() + tokens.sum()

    save(Pairs(), tmp_path / "pairs.pt2")
    assert any("Add" in str(value) for value in program_of(tmp_path / "pairs.pt2")["graph_module"]["graph"].values())
    rewrite(tmp_path / "pairs.pt2", tmp_path / "clean.pt2")
    loaded = torch.export.load(tmp_path / "clean.pt2").module(check_guards=False)
    assert loaded(*feeds(4)).shape == (8, 3)


class TestPickles:
    def test_one_in_the_sample_inputs_is_never_opened(self, tiny_pt2, tmp_path):
        touched = tmp_path / "touched"
        hostile = rebuilt(tiny_pt2, tmp_path / "h.pt2", {"data/sample_inputs/model.pt": pickled(Bomb(touched))})
        # Proof that it is live: this is what torch does with it.
        with pytest.raises(Exception):  # noqa: B017 - whatever torch says after it has run it
            torch.export.load(hostile)
        assert touched.exists()
        touched.unlink()
        rewrite(hostile, tmp_path / "clean.pt2")
        graph.load(tmp_path / "clean.pt2")
        assert not touched.exists()

    def test_a_weight_that_asks_to_be_unpickled_is_refused(self, tiny_pt2, tmp_path):
        touched = tmp_path / "touched"
        config = weights_of(tiny_pt2)
        name = next(iter(config["config"]))
        config["config"][name]["use_pickle"] = True
        hostile = rebuilt(
            tiny_pt2,
            tmp_path / "h.pt2",
            {WEIGHTS: msgspec.json.encode(config), "data/weights/weight_0": pickled(Bomb(touched))},
        )
        with pytest.raises(IntakeError, match="use_pickle"):
            rewrite(hostile, tmp_path / "clean.pt2")

    def test_an_old_constants_file_and_compiled_code_are_left_out(self, tiny_pt2, tmp_path):
        extra = {
            "data/constants/model.pt": pickle.dumps(Bomb(tmp_path / "touched")),
            "data/aotinductor/model/evil.so": b"\x7fELF",
            "extra/notes.txt": b"hello",
        }
        left_out = rewrite(rebuilt(tiny_pt2, tmp_path / "h.pt2", extra), tmp_path / "clean.pt2")
        assert set(extra) <= set(left_out)
        with zipfile.ZipFile(tmp_path / "clean.pt2") as clean:
            assert not any(name.endswith((".so", ".txt", "constants/model.pt")) for name in clean.namelist())
        graph.load(tmp_path / "clean.pt2")
        assert not (tmp_path / "touched").exists()

    def test_a_custom_object_among_the_constants_is_refused(self, tiny_pt2, tmp_path):
        for prefix in ("custom_obj_0", "opaque_obj_0"):
            config = {
                "config": {"x": {"path_name": prefix, "is_param": False, "use_pickle": True, "tensor_meta": None}}
            }
            changes = {
                "data/constants/model_constants_config.json": msgspec.json.encode(config),
                f"data/constants/{prefix}": pickle.dumps(Bomb(tmp_path / "touched")),
            }
            with pytest.raises(IntakeError, match="path_name"):
                rewrite(rebuilt(tiny_pt2, tmp_path / "h.pt2", changes), tmp_path / "clean.pt2")


def hostile_shape(text: str):
    def change(program: dict) -> None:
        values = program["graph_module"]["graph"]["tensor_values"]
        meta = next(value for value in values.values() if any("as_expr" in size for size in value["sizes"]))
        next(size for size in meta["sizes"] if "as_expr" in size)["as_expr"]["expr_str"] = text

    return change


def set_first_node(**fields):
    def change(program: dict) -> None:
        program["graph_module"]["graph"]["nodes"][0] |= fields

    return change


def rename_value(name: str):
    def change(program: dict) -> None:
        values = program["graph_module"]["graph"]["tensor_values"]
        values[name] = values.pop(next(iter(values)))

    return change


def set_tree(spec: dict):
    def change(program: dict) -> None:
        program["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = msgspec.json.encode(
            [1, spec]
        ).decode()

    return change


def huge(program: dict) -> None:
    values = program["graph_module"]["graph"]["tensor_values"]
    next(iter(values.values()))["sizes"] = [{"as_int": 2**30}, {"as_int": 2**30}]


ENUM = msgspec.json.encode({"__enum__": True, "fqn": "antigravity:x", "name": "x"}).decode()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (hostile_shape("__import__('os').system('touch /tmp/pwned')"), "not plain arithmetic"),
        (hostile_shape("Symbol('s0').func.__globals__"), "not plain arithmetic"),
        (hostile_shape("Pow(Integer(9), Pow(Integer(9), Integer(9)))"), "not plain arithmetic"),
        (set_first_node(target="torch.os.system"), "operator 'torch.os.system' is not accepted"),
        (set_first_node(target="torch.hub.load"), "operator 'torch.hub.load' is not accepted"),
        (set_first_node(target="torch.ops.aten.from_file.default"), "from_file"),
        (set_first_node(target="torch.ops.aten.__class__.mro"), "is not accepted"),
        (set_first_node(name="x); import os; os.system('id')  #"), "name"),
        (rename_value("x = __import__('os')"), "tensor_values"),
        (set_tree({"type": "builtins.tuple", "context": ENUM, "children_spec": []}), "context"),
        (set_tree({"type": "collections.namedtuple", "context": "null", "children_spec": []}), "type|builtins"),
        (huge, "a tensor has 1152921504606846976 elements"),
    ],
)  # fmt: skip
def test_a_hostile_program_is_refused_with_its_place(tiny_pt2, tmp_path, change, sentence):
    hostile = with_program(tiny_pt2, tmp_path / "h.pt2", change)
    with pytest.raises(IntakeError, match=sentence):
        rewrite(hostile, tmp_path / "clean.pt2")


def test_guards_which_torch_would_execute_are_left_out(tiny_pt2, tmp_path):
    touched = tmp_path / "touched"
    code = f"(__import__('pathlib').Path({str(touched)!r}).touch() or True)"
    hostile = with_program(tiny_pt2, tmp_path / "h.pt2", lambda program: program.update(guards_code=[code]))
    rewrite(hostile, tmp_path / "clean.pt2")
    assert program_of(tmp_path / "clean.pt2")["guards_code"] == []
    graph.load(tmp_path / "clean.pt2").module(*feeds())
    assert not touched.exists()


class TestNumbers:
    @pytest.mark.parametrize(
        ("sizes", "strides", "offset"),
        [([2**20, 2**20], [2**20, 1], 0), ([3, 3], [2**40, 1], 0), ([3, 3], [3, 1], 2**40)],
    )
    def test_a_weight_that_claims_more_than_its_record_is_refused(self, tiny_pt2, tmp_path, sizes, strides, offset):
        config = weights_of(tiny_pt2)
        meta = next(iter(config["config"].values()))["tensor_meta"]
        meta["sizes"] = [{"as_int": size} for size in sizes]
        meta["strides"] = [{"as_int": stride} for stride in strides]
        meta["storage_offset"] = {"as_int": offset}
        hostile = rebuilt(tiny_pt2, tmp_path / "h.pt2", {WEIGHTS: msgspec.json.encode(config)})
        with pytest.raises(IntakeError, match=r"claims \d+ bytes of weight_|elements, the limit"):
            rewrite(hostile, tmp_path / "clean.pt2")

    def test_a_missing_record_is_named(self, tiny_pt2, tmp_path):
        hostile = rebuilt(tiny_pt2, tmp_path / "h.pt2", {"data/weights/weight_0": None})
        with pytest.raises(IntakeError, match="lacks weight_0"):
            rewrite(hostile, tmp_path / "clean.pt2")

    def test_a_flipped_bit_in_a_weight_is_found(self, tiny_pt2, tmp_path):
        data = bytearray(tiny_pt2.read_bytes())
        with zipfile.ZipFile(tiny_pt2) as file:
            entry = next(each for each in file.infolist() if each.filename.endswith("weights/weight_3"))
        data[entry.header_offset + 30 + len(entry.filename) + 80] ^= 1
        (tmp_path / "flipped.pt2").write_bytes(data)
        with pytest.raises(IntakeError, match=r"damaged|CRC"):
            rewrite(tmp_path / "flipped.pt2", tmp_path / "clean.pt2")


class TestArchives:
    def test_a_zip_bomb_is_refused_before_it_is_unpacked(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "bomb.pt2", "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("m/archive_format", "pt2")
            file.writestr("m/models/model.json", b"0" * 200_000_000)
        assert (tmp_path / "bomb.pt2").stat().st_size < 300_000
        with pytest.raises(IntakeError, match="is compressed"):
            rewrite(tmp_path / "bomb.pt2", tmp_path / "clean.pt2")

    def test_entries_that_overlap_are_refused(self, tmp_path):
        """Many names for the same bytes: a bomb that needs no compression."""
        path = tmp_path / "overlap.pt2"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
            file.writestr("m/data/weights/weight_0", bytes(1_000_000))
            for number in range(1, 50):
                copied = copy.copy(file.infolist()[0])
                copied.filename = copied.orig_filename = f"m/data/weights/weight_{number}"
                file.filelist.append(copied)
                file.NameToInfo[copied.filename] = copied
        with pytest.raises(IntakeError, match="they overlap"):
            rewrite(path, tmp_path / "clean.pt2")

    @pytest.mark.parametrize("name", ["m/../../etc/passwd", "/etc/passwd", "m\\..\\x", "m/a\x00b", "m/data/\u202egnp"])
    def test_hostile_names_are_refused(self, tmp_path, name):
        with zipfile.ZipFile(tmp_path / "names.pt2", "w") as file:
            info = zipfile.ZipInfo("m/x")
            info.filename = name
            file.writestr(info, b"x")
        with pytest.raises(IntakeError, match="with the name"):
            rewrite(tmp_path / "names.pt2", tmp_path / "clean.pt2")

    def test_a_link_is_refused(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "link.pt2", "w") as file:
            info = zipfile.ZipInfo("m/data/weights/weight_0")
            info.external_attr = 0o120777 << 16
            file.writestr(info, "/etc/passwd")
        with pytest.raises(IntakeError, match="is a link"):
            rewrite(tmp_path / "link.pt2", tmp_path / "clean.pt2")

    @pytest.mark.parametrize("kept", [0.999, 0.5, 0.05])
    def test_a_truncated_file_is_refused(self, tiny_pt2, tmp_path, kept):
        data = tiny_pt2.read_bytes()
        (tmp_path / "cut.pt2").write_bytes(data[: int(kept * len(data))])
        with pytest.raises(IntakeError, match=r"damaged|lacks"):
            rewrite(tmp_path / "cut.pt2", tmp_path / "clean.pt2")

    def test_a_plain_zip_is_told_what_is_missing(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "plain.pt2", "w") as file:
            file.writestr("m/readme", "hello")
        with pytest.raises(IntakeError, match="lacks archive_format"):
            rewrite(tmp_path / "plain.pt2", tmp_path / "clean.pt2")
