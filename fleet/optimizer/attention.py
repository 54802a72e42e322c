"""Attention in a program's graph: its heads, and what has to change when some of them go.

What is recognised is what torch.export makes of multi-head attention around `scaled_dot_product_attention`: three
linears whose outputs are viewed as [batch, tokens, heads, size] and transposed, and the way back into one linear. The
number of heads stands in those views as a literal, and is rewritten there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from fleet.optimizer.graph import attribute, set_attribute

_ATEN = torch.ops.aten
_ATTENTION = _ATEN.scaled_dot_product_attention.default
_LINEAR, _TRANSPOSE = _ATEN.linear.default, _ATEN.transpose.int
_VIEWS = frozenset({_ATEN.view.default, _ATEN.reshape.default, _ATEN._unsafe_view.default})


@dataclass(eq=False, slots=True)
class Attention:
    """`heads` of `size` channels each; out is the linear that reads them side by side, joined the node it reads."""

    inward: tuple[fx.Node, ...]
    views: tuple[fx.Node, ...]
    joined: fx.Node
    out: fx.Node
    heads: int
    size: int

    @property
    def name(self) -> str:
        """The weight of the linear that it ends in."""
        return str(self.out.args[1].target)  # type: ignore[union-attr]  # a get_attr node, found to be one


def attentions(module: fx.GraphModule) -> list[Attention]:
    """Those whose weights and values nothing else reads, in the order in which they run."""
    return [found for node in module.graph.nodes if node.target is _ATTENTION and (found := _match(module, node))]


def _match(module: fx.GraphModule, node: fx.Node) -> Attention | None:
    sides = [side for each in node.args[:3] if (side := _inward(each))]
    joined, out = _outward(node)
    if len(sides) < 3 or out is None or joined is None:
        return None
    linears, views = tuple(side[0] for side in sides), tuple(side[1] for side in sides)
    shapes = {tuple(_sizes(view)[2:]) for view in views}
    if len(shapes) != 1 or not all(isinstance(size, int) for size in next(iter(shapes))):
        return None  # grouped queries share their keys: cutting one head would cut others' too
    heads, size = shapes.pop()
    weights = [attribute(module, linear.args[1]) for linear in (*linears, out)]
    wide = [len(weight) for weight in weights[:3]] + [weights[3].shape[1]]
    if set(wide) != {heads * size} or not _alone(module, (*linears, out)):
        return None
    return Attention(linears, views, joined, out, heads, size)


def _sizes(view: fx.Node) -> list[Any]:
    """What a view views its input as: numbers, or nodes where they are free."""
    return list(view.args[1])  # type: ignore[arg-type]  # a list of sizes


def _inward(node: Any) -> tuple[fx.Node, fx.Node] | None:
    """linear ← view ← transpose, each read by the next alone."""
    if not isinstance(node, fx.Node) or node.target is not _TRANSPOSE or set(node.args[1:]) != {1, 2}:
        return None
    view = node.args[0]
    if not isinstance(view, fx.Node) or view.target not in _VIEWS or len(_sizes(view)) != 4:
        return None
    linear = view.args[0]
    if not isinstance(linear, fx.Node) or linear.target is not _LINEAR:
        return None
    return (linear, view) if all(len(each.users) == 1 for each in (node, view, linear)) else None


def _outward(node: fx.Node) -> tuple[fx.Node | None, fx.Node | None]:
    """transpose → view → linear; (the view, the linear)."""
    chain = list(_following(node, 3))
    if len(chain) < 3 or chain[0].target is not _TRANSPOSE or chain[1].target not in _VIEWS:
        return None, None
    return (chain[1], chain[2]) if chain[2].target is _LINEAR and chain[2].args[0] is chain[1] else (None, None)


def _following(node: fx.Node, count: int) -> Iterator[fx.Node]:
    while count and len(node.users) == 1:
        (node,) = node.users
        if node.target is _ATEN.contiguous.default:
            continue
        count -= 1
        yield node


def _alone(module: fx.GraphModule, linears: tuple[fx.Node, ...]) -> bool:
    """Whether each of these weights is read once in the whole graph."""
    wanted = {str(argument.target) for linear in linears for argument in linear.args[1:3] if argument is not None}  # type: ignore[union-attr]
    readers: dict[str, int] = dict.fromkeys(wanted, 0)
    for node in module.graph.nodes:
        if node.op == "get_attr" and str(node.target) in readers:
            readers[str(node.target)] += len(node.users)
    return all(count == 1 for count in readers.values()) and all(
        isinstance(attribute(module, linear.args[1]), nn.Parameter) for linear in linears
    )


def keep(module: fx.GraphModule, attention: Attention, channels: Tensor, refit: Tensor) -> None:
    """Leave only these channels (bool [heads * size], whole heads), and give the last linear its weights anew.

    refit is [out, heads * size + 1], the bias last; it is left out where the linear has none.
    """
    left = int(channels.sum()) // attention.size
    for linear, view in zip(attention.inward, attention.views, strict=True):
        for argument in linear.args[1:3]:
            if argument is not None:
                set_attribute(module, argument, attribute(module, argument).detach()[channels])
        view.update_arg(1, [*_sizes(view)[:2], left, attention.size])
    wide = attention.heads * attention.size
    joined = [left * attention.size if size == wide else size for size in _sizes(attention.joined)]
    attention.joined.update_arg(1, joined)
    out = attention.out
    set_attribute(module, out.args[1], refit[:, :-1][:, channels].float())
    if len(out.args) > 2 and out.args[2] is not None:
        set_attribute(module, out.args[2], refit[:, -1].float())
    attention.heads = left
    module.recompile()
