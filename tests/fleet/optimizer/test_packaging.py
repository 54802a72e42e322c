"""Parts put together are the file; versions that share tensors share parts."""

import hashlib
import json

import bsdiff4
import numpy as np
import onnx
import pytest
from backports import zstd
from onnx import TensorProto, helper, numpy_helper

from agent.wire import manifest as wire
from fleet.optimizer import packaging


def make_folder(folder, head: float = 1.0):
    """A model of three large tensors, three small ones and a head."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(256, 256)).astype(np.float32) for _ in range(3)]
    small = [rng.normal(size=256).astype(np.float32) for _ in range(3)]
    tensors = {f"w{i}": w for i, w in enumerate(weights)} | {f"b{i}": b for i, b in enumerate(small)}
    tensors["head"] = np.full((256, 128), head, np.float32)
    nodes, last = [], "x"
    for name in tensors:
        kind = "Add" if name.startswith("b") else "MatMul"
        nodes.append(helper.make_node(kind, [last, name], [f"after_{name}"]))
        last = f"after_{name}"
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 256])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, 128])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    folder.mkdir()
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), folder / "model.onnx")
    (folder / "card.json").write_text("{}")
    np.savez(folder / "golden.npz", x=np.zeros(3))
    (folder / "facts.json").write_text(json.dumps({"memory_bytes": 1000, "tolerance": 1e-3}))
    return folder


def package(folder):
    stored = {}

    def put(data):
        digest = hashlib.sha256(data).hexdigest()
        stored[digest] = data
        return digest

    made = packaging.package(folder, put, model="arm", version="1", variant="fp32", device_class="mobile")
    return made, stored


def test_parts_in_order_are_the_files_byte_for_byte(tmp_path):
    folder = make_folder(tmp_path / "a")
    made, stored = package(folder)
    wire.check(made)
    model = b"".join(stored[part.digest] for part in made.of("model"))
    assert model == (folder / "model.onnx").read_bytes()
    whole = model + b"".join(stored[p.digest] for p in (*made.of("card"), *made.of("golden")))
    assert hashlib.sha256(whole).hexdigest() == made.digest
    assert all(part.size >= wire.PART_FLOOR for part in made.of("model")[:-1])
    assert len(made.of("model")) >= 4


def test_a_new_head_is_all_that_is_new(tmp_path):
    first, _ = package(make_folder(tmp_path / "a"))
    second, _ = package(make_folder(tmp_path / "b", head=2.0))
    new = {part.digest for part in second.parts} - {part.digest for part in first.parts}
    size = sum(part.size for part in second.parts if part.digest in new)
    assert 0 < size < 0.25 * second.size


def test_without_a_card_the_other_parts_are_a_whole_variant(tmp_path):
    folder = make_folder(tmp_path / "a")
    with_card, _ = package(folder)
    (folder / "card.json").unlink()
    made, _ = package(folder)
    wire.check(made)
    assert made.of("card") == ()
    assert made.deadline_ms == 100
    assert {part.digest for part in made.parts} < {part.digest for part in with_card.parts}


@pytest.mark.parametrize("data", [b"\xff" * 50, b"\x3a\xff\xff\xff\x7f", b"\x3a", b"\x0b"])
def test_what_is_no_protobuf_is_said(data):
    with pytest.raises(packaging.PackagingError, match="the model file"):
        packaging.cuts(data)


# --- Fewer bytes ---


def packaged(folder, store, **more):
    """As the server does it; `store` is digest → bytes."""

    def put(data: bytes) -> str:
        store[wire.digest_of(data)] = data
        return wire.digest_of(data)

    given = {"model": "m", "version": "1", "variant": "v", "device_class": "embedded", **more}
    made = packaging.package(folder, put, read=store.__getitem__, **given)
    wire.check(made)
    return made


def test_what_compresses_is_also_stored_compressed(tmp_path):
    store = {}
    made = packaged(make_folder(tmp_path / "a"), store)
    packed = {source.part: source for source in made.sources}

    head = min(made.of("model"), key=lambda part: len(zstd.compress(store[part.digest])) / part.size)
    assert zstd.decompress(store[packed[head.digest].digest]) == store[head.digest]
    assert all(source.size < 0.95 * len(store[source.part]) for source in made.sources)


def test_a_changed_tensor_is_a_patch_to_the_one_before(tmp_path):
    store = {}
    before = packaged(make_folder(tmp_path / "a"), store)
    after = packaged(make_folder(tmp_path / "b", head=2.0), store, version="2", before=before)
    patches = [source for source in after.sources if source.how == "bsdiff"]
    shared = {part.digest for part in before.parts} & {part.digest for part in after.parts}

    assert shared and not shared & {source.part for source in patches}
    for source in patches:
        assert bsdiff4.patch(store[source.base], store[source.digest]) == store[source.part]


def test_a_fine_tuned_model_is_mostly_patches(tmp_path):
    """Every weight moved a little, stored in int8: few bytes differ."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-128, 128, 400_000, np.int8)
    moved = np.where(rng.random(400_000) < 0.02, weights + 1, weights).astype(np.int8)
    store, made = {}, []
    for name, values in (("a", weights), ("b", moved)):
        folder = make_folder(tmp_path / name)
        graph = helper.make_graph(
            [helper.make_node("Identity", ["x"], ["y"])],
            "model",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
            [numpy_helper.from_array(values, "w")],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), folder / "model.onnx")
        made.append(packaged(folder, store, before=made[-1] if made else None))
    (patch,) = [source for source in made[1].sources if source.how == "bsdiff"]

    assert patch.size < 0.2 * 400_000


def test_a_source_that_two_parts_would_share_is_kept_once():
    parts = [wire.Part("ab" * 32, 100, "model"), wire.Part("cd" * 32, 100, "model")]
    same = {part.digest: [wire.Source(part=part.digest, how="zstd", digest="ef" * 32, size=9)] for part in parts}

    assert len(packaging._distinct(parts, same)) == 1
