"""A program as a graph that can be looked into and changed: loading, feed-forward blocks, what flows through them.

Imports torch: only ever imported inside a confined child.
"""

import copy
import operator
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own documentation calls it F
from torch import Tensor, fx, nn

from fleet.optimizer.errors import IntakeError, PassError
from fleet.optimizer.inputs import Feeds, InputSpec

_ATEN = torch.ops.aten
_LINEAR = _ATEN.linear.default
#: Work on each number alone: a channel that is cut before it is missing behind it, and nothing else changes.
_ELEMENTWISE = frozenset(
    {
        *(_ATEN.gelu.default, _ATEN.relu.default, _ATEN.relu_.default, _ATEN.silu.default, _ATEN.silu_.default),
        *(_ATEN.tanh.default, _ATEN.sigmoid.default, _ATEN.elu.default, _ATEN.leaky_relu.default),
        *(_ATEN.hardswish.default, _ATEN.mish.default, _ATEN.softplus.default, _ATEN.square.default),
        *(_ATEN.dropout.default, _ATEN.contiguous.default),
    }
)
#: A gate: both sides have the hidden channels.
_PRODUCTS = frozenset({_ATEN.mul.Tensor, operator.mul})

_DTYPES = {
    torch.float32: "float32",
    torch.float16: "float16",
    torch.float64: "float64",
    torch.int64: "int64",
    torch.int32: "int32",
    torch.uint8: "uint8",
    torch.bool: "bool",
}


@dataclass(slots=True)
class Program:
    """A loaded program: its trainable graph, its inputs in order, and the symbols of each one's free sizes."""

    module: fx.GraphModule
    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    symbols: tuple[dict[int, str], ...]

    @property
    def batched(self) -> bool:
        """Whether requests can be put together and taken apart along the first dimension of every input."""
        return all(spec.batched for spec in self.inputs)

    @property
    def free_batch(self) -> bool:
        return all(spec.shape and spec.shape[0] is None for spec in self.inputs)

    def arguments(self, feeds: Feeds) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(feeds[spec.name]) for spec in self.inputs)

    def copy(self) -> "Program":
        """One that can be changed without changing this one."""
        with warnings.catch_warnings():
            # torch copies its own trees by a way that it has deprecated.
            warnings.simplefilter("ignore", FutureWarning)
            return replace(self, module=copy.deepcopy(self.module))

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())


def load(path: Path) -> Program:
    """Load a rewritten `.pt2`. Raises IntakeError when it is not a program of tensors."""
    loaded = torch.export.load(path)
    names = loaded.graph_signature.user_inputs
    nodes = {node.name: node for node in loaded.graph.nodes if node.op == "placeholder"}
    for node in loaded.graph.nodes:
        # The grammar let only operators by; this is what torch made of their names.
        if node.op == "call_function" and not isinstance(node.target, torch._ops.OperatorBase) and not _plain(node):
            raise IntakeError(f"the program calls {node.target!r}, which is no operator")
    specs, symbols = [], []
    for name in names:
        value = nodes[str(name)].meta.get("val") if name in nodes else None
        if not isinstance(value, Tensor) or value.dtype not in _DTYPES:
            raise IntakeError(f"the program's input {name!r} is no tensor of a kind that a policy card knows")
        shape = tuple(size if isinstance(size, int) else None for size in value.shape)
        symbols.append({place: str(size) for place, size in enumerate(value.shape) if not isinstance(size, int)})
        specs.append(InputSpec(str(name), _DTYPES[value.dtype], shape))
    module = loaded.module(check_guards=False)
    if not isinstance(module, fx.GraphModule):
        raise IntakeError("the program has no graph")
    return Program(module, tuple(specs), _outputs(loaded), tuple(symbols))


def _outputs(loaded: torch.export.ExportedProgram) -> tuple[str, ...]:
    """A program that gives a dict names its outputs; the others are output, output_1, …"""
    given = loaded.call_spec.out_spec
    count = len(loaded.graph_signature.user_outputs)
    if given is not None and given.type is dict and given.num_leaves == len(given.context) == count:
        names = tuple(map(str, given.context))
        if len(set(names)) == count and all(re.fullmatch(r"[\w.:/-]{1,128}", name) for name in names):
            return names
    return ("output", *(f"output_{number}" for number in range(1, count)))


def _plain(node: fx.Node) -> bool:
    return getattr(node.target, "__module__", "") in {"_operator", "math", "torch"}


@dataclass(eq=False, slots=True)
class Block:
    """A feed-forward block: `up` linears (two of them where one gates the other), elementwise work, a `down` linear.

    hidden is the node that `down` reads: [..., channels].
    """

    up: tuple[fx.Node, ...]
    hidden: fx.Node
    down: fx.Node
    between: tuple[fx.Node, ...] = field(default=())

    @property
    def name(self) -> str:
        """The weight of its first linear: `vision.blocks.0.feed.up.weight`."""
        return str(self.up[0].args[1].target)  # type: ignore[union-attr]  # a get_attr node, found to be one

    def channels(self, module: nn.Module) -> int:
        return attribute(module, self.up[0].args[1]).shape[0]

    def parameters(self, module: nn.Module) -> list[nn.Parameter]:
        weights = [argument for linear in (*self.up, self.down) for argument in linear.args[1:3]]
        return [attribute(module, weight) for weight in weights if weight is not None]

    def run(self, module: nn.Module, taken: dict[fx.Node, Tensor]) -> Tensor:
        """What `down` gives for what each `up` linear reads, `taken` by the node that they read."""
        values: dict[fx.Node, Tensor] = {up: _linear(module, up, taken[up.all_input_nodes[0]]) for up in self.up}
        for node in self.between:
            arguments = [values[each] if isinstance(each, fx.Node) else each for each in node.args]
            values[node] = node.target(*arguments, **node.kwargs)  # type: ignore[operator]  # an ATen operator
        return _linear(module, self.down, values[self.hidden])


def _linear(module: nn.Module, node: fx.Node, taken: Tensor) -> Tensor:
    bias = node.args[2] if len(node.args) > 2 else None
    return F.linear(taken, attribute(module, node.args[1]), None if bias is None else attribute(module, bias))


def attribute(module: nn.Module, node: Any) -> nn.Parameter:
    """The parameter that a get_attr node names."""
    return reduce(getattr, str(node.target).split("."), module)  # type: ignore[return-value]  # a parameter's name


def set_attribute(module: nn.Module, node: Any, value: Tensor) -> None:
    *path, last = str(node.target).split(".")
    setattr(reduce(getattr, path, module), last, nn.Parameter(value.contiguous()))


def blocks(module: fx.GraphModule) -> list[Block]:
    """The feed-forward blocks whose hidden channels nothing else reads, in the order in which they run."""
    used: dict[str, int] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            used[str(node.target)] = used.get(str(node.target), 0) + len(node.users)
    found = []
    for node in module.graph.nodes:
        if node.target is _LINEAR and isinstance(node.args[0], fx.Node) and _own_weights(module, node, used):
            traced = _trace(node.args[0])
            if traced and all(_own_weights(module, up, used) for up in traced[0]):
                found.append(Block(tuple(traced[0]), node.args[0], node, tuple(traced[1])))
    return found


def _trace(node: fx.Node) -> tuple[list[fx.Node], list[fx.Node]] | None:
    """From a hidden node back to the linears that make it: (linears, elementwise nodes in order); None without any."""
    if len(node.users) != 1:
        return None
    if node.target is _LINEAR:
        return [node], []
    if node.target in _ELEMENTWISE and isinstance(node.args[0], fx.Node):
        traced = _trace(node.args[0])
        return (traced[0], [*traced[1], node]) if traced else None
    if node.target in _PRODUCTS and all(isinstance(side, fx.Node) for side in node.args):
        left, right = (_trace(side) for side in node.args)  # type: ignore[arg-type]  # both are nodes
        return (left[0] + right[0], [*left[1], *right[1], node]) if left and right else None
    return None


def _own_weights(module: fx.GraphModule, linear: fx.Node, used: dict[str, int]) -> bool:
    weights = [each for each in linear.args[1:3] if each is not None]
    return all(
        isinstance(each, fx.Node)
        and each.op == "get_attr"
        and used[str(each.target)] == 1
        and isinstance(attribute(module, each), nn.Parameter)
        for each in weights
    )


#: Called with a node, what it gave as [rows, channels], and how many samples that was.
Seen = Callable[[fx.Node, Tensor, int], None]


class _Watcher(fx.Interpreter):
    """Runs a graph and hands on what `nodes` gave."""

    def __init__(self, module: fx.GraphModule, nodes: Iterable[fx.Node], seen: Seen) -> None:
        super().__init__(module)
        self._nodes, self._seen = frozenset(nodes), seen
        self.samples = 0

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n in self._nodes:
            self._seen(n, value.detach().flatten(0, -2), self.samples)
        return value


@torch.no_grad()
def watch(
    program: Program,
    batches: Iterator[Feeds],
    samples: int,
    nodes: Iterable[fx.Node],
    seen: Seen,
    on_progress: Callable[[float], None],
) -> None:
    """Run at least `samples` samples through the program, and show what the nodes gave."""
    watcher = _Watcher(program.module, nodes, seen)
    done = 0
    while done < samples:
        batch = program.arguments(next(batches))
        whole = program.free_batch or not program.batched
        pieces = [batch] if whole else list(zip(*(torch.split(each, 1) for each in batch), strict=True))
        for piece in pieces:
            watcher.samples = len(piece[0]) if program.batched else 1
            watcher.run(*piece)
        done += len(batch[0]) if program.batched else 1
        on_progress(min(1.0, done / samples))


def check_finite(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if not torch.isfinite(parameter).all():
            raise PassError(f"the weight {name} holds NaN or infinity")
