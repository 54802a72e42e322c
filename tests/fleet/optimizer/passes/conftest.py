from collections.abc import Callable

import pytest

from fleet.optimizer import graph
from fleet.optimizer.archive import rewrite
from fleet.optimizer.workbench import Workbench
from tests.fleet.optimizer import tiny_world


@pytest.fixture(scope="session")
def teacher(tiny_pt2, tmp_path_factory) -> graph.Program:
    clean = tmp_path_factory.mktemp("teacher") / "clean.pt2"
    rewrite(tiny_pt2, clean)
    return graph.load(clean)


@pytest.fixture
def bench(teacher) -> Workbench:
    """A workbench with a copy of the tiny policy on it."""
    return Workbench(
        teacher.copy(), teacher, lambda: tiny_world.batches(tiny_world.CARD, 64, 2), lambda share, text: None
    )


@pytest.fixture(scope="session")
def difference(teacher) -> Callable[[graph.Program], float]:
    """The mean absolute difference of a program's answers from the original's, on inputs that nothing learned from."""
    import torch

    feeds = next(tiny_world.batches(tiny_world.CARD, 256, 99))

    def measured(program: graph.Program) -> float:
        with torch.inference_mode():
            mine, theirs = (each.module(*each.arguments(feeds)) for each in (program, teacher))
        return (mine - theirs).abs().mean().item()

    return measured
