from pathlib import Path

import pytest

from tests.fleet.optimizer import tiny, tiny_world


@pytest.fixture(scope="session")
def tiny_policy() -> tiny.TinyPolicy:
    return tiny.trained()


@pytest.fixture(scope="session")
def tiny_pt2(tiny_policy, tmp_path_factory) -> Path:
    """As torch.export.save writes it, any batch."""
    return tiny.save(tiny_policy, tmp_path_factory.mktemp("tiny") / "tiny.pt2")


@pytest.fixture(scope="session")
def tiny_onnx(tiny_pt2, tmp_path_factory) -> Path:
    """The same policy as this project exports it."""
    from fleet.optimizer import graph
    from fleet.optimizer.archive import rewrite
    from fleet.optimizer.passes.export import export

    folder = tmp_path_factory.mktemp("onnx")
    rewrite(tiny_pt2, folder / "clean.pt2")
    sample = {name: array[:1] for name, array in next(tiny_world.batches(tiny_world.CARD, 1, 0)).items()}
    model = export(graph.load(folder / "clean.pt2"), sample, ["actions"])
    (folder / "tiny.onnx").write_bytes(model.SerializeToString(deterministic=True))
    return folder / "tiny.onnx"
