import pytest
import torch

from fleet.optimizer import graph
from fleet.optimizer.archive import rewrite
from fleet.optimizer.errors import PassError
from fleet.optimizer.passes.distil import Distil, distil
from fleet.optimizer.passes.prune import Prune, prune
from fleet.optimizer.workbench import Workbench
from tests.fleet.optimizer import tiny, tiny_world


def test_what_was_cut_deep_learns_from_the_original_again(bench, difference):
    prune(Prune(share=0.875, samples=512), bench)
    cut = difference(bench.program)
    distil(Distil(steps=100, whole_steps=0, samples=512), bench)
    blocks = difference(bench.program)
    assert blocks < cut
    assert all(each["after"] < each["before"] for each in bench.facts.distilled)
    distil(Distil(steps=1, whole_steps=100, samples=512), bench)
    assert difference(bench.program) < 0.8 * blocks


def test_training_never_leaves_it_worse(bench, difference, monkeypatch):
    monkeypatch.setattr("fleet.optimizer.passes.distil.BLOCK_RATE", 10.0)
    prune(Prune(share=0.5, samples=256), bench)
    before = difference(bench.program)
    distil(Distil(steps=40, whole_steps=0, samples=256), bench)
    assert difference(bench.program) == pytest.approx(before, rel=1e-4)


def test_a_program_for_a_batch_of_one_is_distilled_too(tiny_policy, tmp_path, difference):
    rewrite(tiny.save(tiny_policy, tmp_path / "one.pt2", free_batch=False), tmp_path / "clean.pt2")
    teacher = graph.load(tmp_path / "clean.pt2")
    bench = Workbench(
        teacher.copy(), teacher, lambda: tiny_world.batches(tiny_world.CARD, 64, 2), lambda share, text: None
    )
    prune(Prune(share=0.75, samples=192), bench)
    distil(Distil(steps=40, whole_steps=40, samples=192), bench)
    assert [each["name"] for each in bench.facts.distilled] == ["feed.0.weight", "gated.gate.weight"]
    one = next(tiny_world.batches(tiny_world.CARD, 1, 5))
    with torch.inference_mode():
        mine, theirs = (each.module(*each.arguments(one)) for each in (bench.program, teacher))
    assert (mine - theirs).abs().max() < 0.1


def test_without_a_cut_there_is_nothing_to_learn(bench):
    with pytest.raises(PassError, match="nothing was cut"):
        distil(Distil(), bench)


def test_it_ends_once_the_outputs_hold_where_their_similarity_is_the_gate(bench):
    prune(Prune(share=0.5, samples=256), bench)
    bench.hold = 0.5
    distil(Distil(steps=40, whole_steps=40, samples=256), bench)
    assert not bench.facts.distilled
    assert any("the outputs hold" in note for note in bench.facts.notes)
    bench.hold = 1.1  # what no training reaches
    distil(Distil(steps=5, whole_steps=5, samples=256), bench)
    assert [each["name"] for each in bench.facts.distilled] == ["feed.0.weight", "gated.gate.weight", ""]
