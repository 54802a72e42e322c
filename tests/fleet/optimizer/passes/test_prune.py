import pytest
import torch

from fleet.optimizer import graph
from fleet.optimizer.archive import rewrite
from fleet.optimizer.errors import PassError
from fleet.optimizer.passes.prune import Prune, prune, surgeon
from fleet.optimizer.workbench import Workbench
from tests.fleet.optimizer import tiny, tiny_world


def test_the_plain_and_the_gated_block_are_found(teacher):
    names = {block.name: [str(up.args[1].target) for up in block.up] for block in graph.blocks(teacher.module)}
    assert names == {"feed.0.weight": ["feed.0.weight"], "gated.gate.weight": ["gated.gate.weight", "gated.up.weight"]}


def test_half_of_the_channels_goes_and_the_answers_stay(bench, difference):
    before = bench.program.parameters
    prune(Prune(share=0.5, samples=512), bench)
    assert before - bench.program.parameters == 32 * (2 * tiny.WIDTH + 1) + 32 * 3 * tiny.WIDTH
    assert [block["kept"] for block in bench.facts.blocks] == [32, 32]
    assert difference(bench.program) < 0.01


def test_the_refit_is_what_saves_it(bench, teacher, difference):
    """The same number of channels, cut by their size and without solving anew, answers several times worse."""
    naive = teacher.copy()
    for block in graph.blocks(naive.module):
        down = graph.attribute(naive.module, block.down.args[1])
        kept = down.norm(dim=0).argsort(descending=True)[:16].sort().values
        for up in block.up:
            for argument in up.args[1:3]:
                if argument is not None:
                    graph.set_attribute(naive.module, argument, graph.attribute(naive.module, argument).detach()[kept])
        graph.set_attribute(naive.module, block.down.args[1], down.detach()[:, kept])
    prune(Prune(share=0.75, samples=512), bench)
    assert naive.parameters == bench.program.parameters
    assert difference(bench.program) < difference(naive) / 4


def test_a_second_cut_uses_what_the_first_one_saw(bench, teacher):
    prune(Prune(share=0.25, samples=128), bench)
    looked = []
    other = Workbench(
        teacher.copy(), teacher, lambda: looked.append(1), bench.report, facts=type(bench.facts)(), shared=bench.shared
    )
    prune(Prune(share=0.5, samples=128), other)
    assert not looked
    assert [block["kept"] for block in other.facts.blocks] == [32, 32]


def test_a_block_that_cannot_bear_the_cut_is_cut_less(bench, monkeypatch):
    monkeypatch.setattr("fleet.optimizer.passes.prune.MAX_ERROR", 1e-9)
    prune(Prune(share=0.75, samples=128), bench)
    assert [block["kept"] for block in bench.facts.blocks] == [64, 64]


def test_a_program_without_blocks_says_so(tmp_path):
    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.state = torch.nn.Linear(3, 6)

        def forward(self, image, tokens, state):
            return self.state(state).view(-1, 2, 3) + image.mean() + tokens.sum()

    rewrite(tiny.save(Plain(), tmp_path / "plain.pt2"), tmp_path / "clean.pt2")
    program = graph.load(tmp_path / "clean.pt2")
    bench = Workbench(program, program, lambda: tiny_world.batches(tiny_world.CARD, 8, 0), lambda share, text: None)
    with pytest.raises(PassError, match="no feed-forward block"):
        prune(Prune(share=0.5), bench)


class TestSurgeon:
    def exact(self, columns: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs of which two are sums of others, and a weight."""
        torch.manual_seed(0)
        x = torch.randn(200, columns, dtype=torch.float64)
        x[:, 4] = x[:, 0] + x[:, 1]
        x[:, 5] = 2 * x[:, 2] + 1
        rows = torch.cat([x, torch.ones(200, 1, dtype=torch.float64)], 1)
        return rows, torch.randn(3, columns + 1, dtype=torch.float64)

    def test_what_others_can_say_goes_without_loss(self):
        rows, weight = self.exact()
        alive, solved, lost = surgeon(rows.T @ rows / 200, weight, 4)
        assert alive.sum() == 4
        assert lost < 1e-3
        assert (rows @ solved.T - rows @ weight.T).abs().max() < 2e-2
        assert solved[:, :6][:, ~alive].abs().max() == 0

    def test_the_rest_is_the_least_squares_solution(self):
        rows, weight = self.exact()
        alive, solved, _ = surgeon(rows.T @ rows / 200, weight, 2)
        kept = torch.cat([alive, torch.tensor([True])])
        best = torch.linalg.lstsq(rows[:, kept], rows @ weight.T).solution.T
        torch.testing.assert_close(solved[:, kept], best, atol=1e-3, rtol=0)

    def test_a_missing_bias_stays_missing(self):
        rows, weight = self.exact()
        weight[:, -1] = 0
        _, solved, _ = surgeon(rows.T @ rows / 200, weight, 3, fixed_bias=True)
        assert solved[:, -1].abs().max() == 0
