"""Heads of attention are found in a program, go where they are not needed, and the rest takes over."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from agent.inference import runtimes
from fleet.optimizer import attention, graph
from fleet.optimizer.archive import rewrite
from fleet.optimizer.errors import PassError
from fleet.optimizer.passes.export import export
from fleet.optimizer.passes.heads import PruneHeads, block_surgeon, prune_heads
from fleet.optimizer.workbench import Workbench

WIDTH, HEADS, TOKENS = 32, 4, 6


class Layer(nn.Module):
    """One attention; head 3 says what head 0 says, and head 2 hardly anything."""

    def __init__(self, heads: int = HEADS) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        size = WIDTH // HEADS
        with torch.no_grad():
            for linear in (self.query, self.key, self.value):
                linear.weight[3 * size :] = linear.weight[:size]
                linear.bias[3 * size :] = linear.bias[:size]
            self.value.weight[2 * size : 3 * size] *= 1e-3
            self.value.bias[2 * size : 3 * size] *= 1e-3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            each(x).view(x.shape[0], -1, self.heads, WIDTH // self.heads).transpose(1, 2)
            for each in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape[0], -1, WIDTH)
        return x + self.out(mixed)


def program_of(module: nn.Module, folder: Path) -> graph.Program:
    batch = torch.export.Dim("batch", min=1, max=512)
    exported = torch.export.export(module.eval(), (torch.rand(2, TOKENS, WIDTH),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, folder / "m.pt2")
    rewrite(folder / "m.pt2", folder / "clean.pt2")
    return graph.load(folder / "clean.pt2")


def inputs(seed: int = 1):
    random = np.random.default_rng(seed)
    while True:
        yield {"x": random.normal(0, 1, (64, TOKENS, WIDTH)).astype(np.float32)}


def bench_of(program: graph.Program) -> Workbench:
    return Workbench(program=program.copy(), teacher=program, batches=inputs, report=lambda share, text: None)


@pytest.fixture
def layer(tmp_path) -> graph.Program:
    torch.manual_seed(4)
    return program_of(Layer(), tmp_path)


def test_an_attention_is_found_with_its_heads(layer):
    (found,) = attention.attentions(layer.module)
    assert (found.name, found.heads, found.size) == ("out.weight", HEADS, WIDTH // HEADS)


def test_heads_that_repeat_another_or_say_nothing_go_and_nothing_is_missed(layer, tmp_path):
    bench = bench_of(layer)
    prune_heads(PruneHeads(share=0.5, samples=512), bench)
    (left,) = attention.attentions(bench.program.module)
    assert left.heads == 2
    assert bench.program.parameters < layer.parameters * 0.55
    feeds = next(inputs(9))
    before, after = (each.module(*each.arguments(feeds)) for each in (layer, bench.program))
    assert (after - before).norm() / (before - torch.from_numpy(feeds["x"])).norm() < 0.02
    # What is left exports, takes any batch, and answers the same in ONNX Runtime.
    model = export(bench.program, {"x": feeds["x"][:1]}, ["y"])
    (tmp_path / "cut.onnx").write_bytes(model.SerializeToString())
    found = runtimes.load(tmp_path / "cut.onnx").run(feeds)["y"]
    assert np.abs(found - after.detach().numpy()).max() < 1e-4


def test_a_head_that_is_needed_stays(tmp_path):
    torch.manual_seed(4)
    needed = Layer()
    for linear in (needed.query, needed.key, needed.value):
        nn.init.normal_(linear.weight, std=0.4)
    bench = bench_of(program_of(needed, tmp_path))
    with pytest.raises(PassError, match="every head is needed"):
        prune_heads(PruneHeads(share=0.75, samples=512), bench)
    assert bench.program.parameters == bench.teacher.parameters


def test_a_program_without_heads_says_so_unless_something_else_was_cut(tmp_path):
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.only = nn.Linear(WIDTH, WIDTH)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.only(x)

    bench = bench_of(program_of(Plain(), tmp_path))
    with pytest.raises(PassError, match="no attention with several heads"):
        prune_heads(PruneHeads(share=0.5), bench)
    bench.facts.blocks.append({"name": "feed"})
    prune_heads(PruneHeads(share=0.5), bench)
    assert "no attention with several heads" in bench.facts.notes[0]


def test_the_surgeon_takes_the_block_that_costs_least_and_says_what_it_cost():
    random = np.random.default_rng(0)
    rows = torch.from_numpy(random.normal(0, 1, (4000, 9)))
    rows[:, 6:] = rows[:, :3] * 0.5  # the last block can be made of the first
    taken = torch.cat([rows, torch.ones(len(rows), 1)], 1)
    gram = taken.T @ taken / len(taken)
    weight = torch.from_numpy(random.normal(0, 1, (5, 10)))
    alive, refit, lost = block_surgeon(gram, weight, 3, 2)
    assert alive[3:6].all()
    assert alive.sum() == 6
    gap = (taken @ refit.T - taken @ weight.T).square().sum(1).mean().item()
    assert gap == pytest.approx(0, abs=1e-3)
    assert lost == pytest.approx(0, abs=1e-3)
