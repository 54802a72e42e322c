"""Distillation: what was cut learns from the original again.

Each cut block learns its original's outputs by itself, from what the original feeds it: no gradient has to pass the
rest of the model, so a step is cheap and nothing else can get worse. Measured on the demonstration's policy with seven
eighths of its channels cut, 2,000 paired episodes: 4.2 ± 0.6 points lost become 1.3 ± 0.5 after 300 steps a block (20 s
on two cores for seven blocks), and 0.3 ± 0.4 after 60 more of the whole model (14 s); 200 steps of the whole alone
(73 s) leave 2.5 ± 0.7. With three quarters cut, the blocks learn so well that training the whole only adds noise. What
was best on samples held out is kept, so that nothing ever ends worse than it began. Where the outputs' similarity is
the gate, it ends as soon as they hold; where episodes decide, no similarity has proven anything yet.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from fleet.optimizer.errors import PassError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import Node
    from torch.nn import Parameter

    from fleet.optimizer.graph import Block
    from fleet.optimizer.inputs import Feeds
    from fleet.optimizer.workbench import Workbench

#: Rows that one block keeps to learn from, how many of them a step sees, and the bytes that all blocks may keep.
MAX_ROWS, ROWS_A_STEP, MAX_BYTES = 32_768, 2_048, 1024**3
BLOCK_RATE, WHOLE_RATE = 1e-3, 5e-5
#: Of the rows, held out to tell when to stop.
HELD_OUT = 0.125
#: Steps between two looks at them, and how many looks without progress end it.
LOOK_EVERY, PATIENCE = 20, 5


class Distil(msgspec.Struct, frozen=True, tag_field="pass", tag="distil"):
    """Train each cut block for up to `steps` steps, then the whole model for up to `whole_steps`.

    The whole is only trained where the program takes any batch: one at a time, it would take too long to help.
    """

    steps: Annotated[int, msgspec.Meta(ge=1)] = 180
    whole_steps: Annotated[int, msgspec.Meta(ge=0)] = 0
    samples: Annotated[int, msgspec.Meta(ge=1)] = 1024


def distil(config: Distil, bench: "Workbench") -> None:
    """Train the workbench's program in place, the untouched original being the teacher."""
    from fleet.optimizer import graph

    student, teacher = bench.program, bench.teacher
    pairs = [
        (mine, theirs)
        for mine, theirs in zip(graph.blocks(student.module), graph.blocks(teacher.module), strict=True)
        if mine.channels(student.module) < theirs.channels(teacher.module)
    ]
    if not pairs:
        raise PassError("nothing was cut, so there is nothing to distil")
    rows = _collect(config, bench, [theirs for _, theirs in pairs])
    last = 0.6 if config.whole_steps else 1.0
    for number, (mine, theirs) in enumerate(pairs):
        begin, end = (0.2 + (last - 0.2) * at / len(pairs) for at in (number, number + 1))
        if _holds(bench):
            bench.facts.notes.append(f"distilling ended before {mine.name}: the outputs hold")
            return graph.check_finite(student.module)
        report = bench.within(begin, end, f"distilling {mine.name}")
        before, after = _learn_block(config, bench, mine, theirs, rows, report)
        bench.facts.distilled.append({"name": mine.name, "before": round(before, 6), "after": round(after, 6)})
    if config.whole_steps and student.free_batch and not _holds(bench):
        before, after = _learn_whole(config, bench, bench.within(last, 1.0, "distilling the whole model"))
        bench.facts.distilled.append({"name": "", "before": round(before, 6), "after": round(after, 6)})
    graph.check_finite(student.module)


def _holds(bench: "Workbench") -> bool:
    """Whether the student's answers to a batch are close enough to the teacher's; never where episodes decide."""
    import torch

    if bench.hold is None:
        return False
    feeds = next(bench.batches())
    with torch.no_grad():
        found, wanted = (
            torch.cat([each.flatten(1) if each.ndim > 1 else each[:, None] for each in _tensors(outputs)], 1).double()
            for outputs in (each.module(*each.arguments(feeds)) for each in (bench.program, bench.teacher))
        )
    return torch.cosine_similarity(found, wanted, dim=1).mean().item() >= bench.hold


def _collect(config: Distil, bench: "Workbench", blocks: list["Block"]) -> dict["Node", "Tensor"]:
    """What the teacher's blocks read and give, as [rows, channels] by node; thinned out to fit."""
    import torch

    from fleet.optimizer import graph

    module = bench.teacher.module
    widths = [graph.attribute(module, linear.args[1]).shape for block in blocks for linear in (*block.up, block.down)]
    most = min(MAX_ROWS, max(ROWS_A_STEP, MAX_BYTES // (4 * sum(max(shape) for shape in widths))))
    kept: dict[Node, list[Tensor]] = {}

    def seen(node: "Node", value: "Tensor", samples: int) -> None:
        # Every k-th row, from another one on each time: what a block reads stays beside what it gives.
        step = math.ceil(len(value) / samples * config.samples / most)
        pieces = kept.setdefault(node, [])
        pieces.append(value[len(pieces) % step :: step].clone())

    nodes = {node for block in blocks for node in (*(up.all_input_nodes[0] for up in block.up), block.down)}
    report = bench.within(0.0, 0.2, "watching the original")
    graph.watch(bench.teacher, bench.batches(), config.samples, nodes, seen, report)
    return {node: torch.cat(pieces) for node, pieces in kept.items()}


def _learn_block(
    config: Distil,
    bench: "Workbench",
    mine: "Block",
    theirs: "Block",
    rows: dict["Node", "Tensor"],
    report: Callable[[float], None],
) -> tuple[float, float]:
    """Train one block; its relative error on the rows held out, before and after."""
    import torch
    import torch.nn.functional as F  # noqa: N812 - torch's own documentation calls it F

    module, wanted = bench.program.module, rows[theirs.down]
    pairs = zip(mine.up, theirs.up, strict=True)
    taken = {up.all_input_nodes[0]: rows[other.all_input_nodes[0]] for up, other in pairs}
    held = max(1, int(len(wanted) * HELD_OUT))
    chance = torch.Generator().manual_seed(bench.seed)

    def loss(at: "Tensor") -> "Tensor":
        return F.mse_loss(mine.run(module, {node: value[at] for node, value in taken.items()}), wanted[at])

    def step() -> "Tensor":
        return loss(torch.randint(held, len(wanted), (min(ROWS_A_STEP, len(wanted)),), generator=chance))

    before, after = _train(
        mine.parameters(module), step, lambda: loss(torch.arange(held)).item(), config.steps, BLOCK_RATE, report
    )
    scale = wanted[:held].square().mean().item() or 1.0
    return math.sqrt(before / scale), math.sqrt(after / scale)


def _learn_whole(config: Distil, bench: "Workbench", report: Callable[[float], None]) -> tuple[float, float]:
    """Train all weights on the original's outputs; the mean absolute error on a batch held out, before and after."""
    import torch

    student, teacher = bench.program, bench.teacher
    batches = bench.batches()

    def loss(feeds: "Feeds") -> "Tensor":
        arguments = student.arguments(feeds)
        with torch.no_grad():
            wanted = teacher.module(*arguments)
        found = student.module(*arguments)
        both = zip(_tensors(found), _tensors(wanted), strict=True)
        return torch.stack([(mine - theirs).abs().mean() for mine, theirs in both]).mean()

    held = next(batches)
    parameters = list(student.module.parameters())
    return _train(
        parameters,
        lambda: loss(next(batches)),
        lambda: loss(held).item(),
        config.whole_steps,
        WHOLE_RATE,
        report,
        lambda: _holds(bench),
    )


def _tensors(answer: Any) -> list["Tensor"]:
    every = answer.values() if isinstance(answer, dict) else answer if isinstance(answer, tuple | list) else [answer]
    return [each for each in every if each.is_floating_point()]


def _train(
    parameters: Sequence["Parameter"],
    step: Callable[[], "Tensor"],
    held_out: Callable[[], float],
    steps: int,
    rate: float,
    report: Callable[[float], None],
    enough: Callable[[], bool] = lambda: False,
) -> tuple[float, float]:
    """Adam with a cosine schedule; ends early without progress or once it is `enough`.

    Leaves the best weights seen, never worse ones. Returns the held-out loss before and after.
    """
    import torch

    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(parameters, rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def look() -> float:
        with torch.no_grad():
            return held_out()

    report(0.0)
    before = best = look()
    kept = [parameter.detach().clone() for parameter in parameters]
    patience = PATIENCE
    for number in range(1, steps + 1):
        optimizer.zero_grad()
        step().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if number % LOOK_EVERY and number != steps:
            continue
        report(number / steps)
        now = look()
        patience = PATIENCE if now < best else patience - 1
        if now < best:
            best, kept = now, [parameter.detach().clone() for parameter in parameters]
        if not patience or not math.isfinite(now) or enough():
            break
    with torch.no_grad():
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
    return before, best
