"""What may stand in the program of an uploaded `.pt2`: torch's own schema, narrowed to what a model needs.

Reading a program into these structs and writing it out again is the cleaning: a field that is not here is dropped, a
value that does not fit is refused with its place. It matters, because torch 2.13 trusts the file further than one
would think: names become Python source, an operator named `torch.…` is looked up attribute by attribute, guards are
executed, tree contexts import modules and shape expressions are evaluated.
"""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from fleet.optimizer import shape_grammar

#: Written into Python source by torch.fx.
Identifier = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,255}\Z")]
#: `vision.blocks.0.feed.up.weight`
Qualified = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*\Z", max_length=512)]
Symbol = Annotated[str, msgspec.Meta(pattern=rf"^{shape_grammar.SYMBOL}\Z")]
#: A mode, an einsum equation, a padding: no quote, no backslash, no line end.
Words = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_ .,:>*+-]{0,256}\Z")]
Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Float = float | Literal["Infinity", "-Infinity", "NaN"]
#: byte, char, short, int, long, half, float, double, bool, bfloat16, by torch's numbers.
ScalarType = Literal[1, 2, 3, 4, 5, 6, 7, 8, 12, 13]
ITEM_SIZE = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 2, 7: 4, 8: 8, 12: 1, 13: 2}

#: One value between two operators may have this many elements (16 GiB of float32).
MAX_ELEMENTS = 2**32
MAX_DIMENSIONS = 16

_ATEN = re.compile(
    r"torch\.ops\.aten\.(_?[a-z][A-Za-z0-9_]*|__(?:and|or|xor|lshift|rshift)__)\.[A-Za-z][A-Za-z0-9_]*\Z"
)
#: Operators that reach beyond tensors.
_ATEN_REFUSED = frozenset({"from_file", "_print", "set_", "_cuda_getCurrentRawStream", "_test_warn_in_autograd"})
_PLAIN = frozenset(
    [f"_operator.{name}" for name in ("eq", "ne", "le", "ge", "lt", "gt", "neg", "pos", "and_", "or_")]
    + [f"_operator.{name}" for name in ("mul", "add", "sub", "floordiv", "mod", "truediv")]
    + [f"torch.sym_{name}" for name in ("not", "int", "float", "ite", "max", "min", "sqrt")]
    + ["math.trunc", "math.ceil", "math.floor"]
    + ["torch.ops.higher_order.wrap_with_set_grad_enabled", "torch.ops.higher_order.wrap_with_autocast"]
)


class Union(msgspec.Struct, omit_defaults=True):
    """torch writes a union as an object with one key; a kind that is not accepted here leaves none."""

    def __post_init__(self) -> None:
        if sum(getattr(self, field) is not UNSET for field in self.__struct_fields__) != 1:
            accepted = ", ".join(self.__struct_fields__)
            raise ValueError(f"a value must be of exactly one of the kinds {accepted}")


class Hint(Union):
    as_int: Int | UnsetType = UNSET
    as_bool: bool | UnsetType = UNSET
    as_float: Float | UnsetType = UNSET


class Expression(msgspec.Struct):
    expr_str: str
    hint: Hint | None = None

    def __post_init__(self) -> None:
        shape_grammar.check(self.expr_str)


class SymInt(Union):
    as_expr: Expression | UnsetType = UNSET
    as_int: Annotated[int, msgspec.Meta(ge=0, le=2**48)] | UnsetType = UNSET


class SymFloat(Union):
    as_expr: Expression | UnsetType = UNSET
    as_float: Float | UnsetType = UNSET


class SymBool(Union):
    as_expr: Expression | UnsetType = UNSET
    as_bool: bool | UnsetType = UNSET


class Device(msgspec.Struct):
    """Wherever it was exported, it is optimized on the processor."""

    type: Annotated[str, msgspec.Meta(pattern=r"^[a-z]{1,16}\Z")]
    index: Int | None = None

    def __post_init__(self) -> None:
        self.type, self.index = "cpu", None


class TensorMeta(msgspec.Struct):
    dtype: ScalarType
    sizes: Annotated[list[SymInt], msgspec.Meta(max_length=MAX_DIMENSIONS)]
    requires_grad: bool
    device: Device
    strides: Annotated[list[SymInt], msgspec.Meta(max_length=MAX_DIMENSIONS)]
    storage_offset: SymInt
    layout: Literal[7]

    def __post_init__(self) -> None:
        elements = 1
        for size in self.sizes:
            elements *= max(1, size.as_int if isinstance(size.as_int, int) else 1)
        if elements > MAX_ELEMENTS:
            raise ValueError(f"a tensor has {elements} elements, the limit is {MAX_ELEMENTS}")


class TensorName(msgspec.Struct):
    name: Identifier


class SymIntName(Union):
    as_name: Identifier | UnsetType = UNSET
    as_int: Int | UnsetType = UNSET


class SymFloatName(Union):
    as_name: Identifier | UnsetType = UNSET
    as_float: Float | UnsetType = UNSET


class SymBoolName(Union):
    as_name: Identifier | UnsetType = UNSET
    as_bool: bool | UnsetType = UNSET


class OptionalTensor(Union):
    as_tensor: TensorName | UnsetType = UNSET
    as_none: bool | UnsetType = UNSET


class SubGraph(msgspec.Struct):
    name: Identifier
    graph: "Graph"


class Argument(Union):
    as_none: bool | UnsetType = UNSET
    as_tensor: TensorName | UnsetType = UNSET
    as_tensors: list[TensorName] | UnsetType = UNSET
    as_int: Int | UnsetType = UNSET
    as_ints: list[Int] | UnsetType = UNSET
    as_float: Float | UnsetType = UNSET
    as_floats: list[Float] | UnsetType = UNSET
    as_string: Words | UnsetType = UNSET
    as_strings: list[Words] | UnsetType = UNSET
    as_sym_int: SymIntName | UnsetType = UNSET
    as_sym_ints: list[SymIntName] | UnsetType = UNSET
    as_scalar_type: ScalarType | UnsetType = UNSET
    as_memory_format: Annotated[int, msgspec.Meta(ge=0, le=4)] | UnsetType = UNSET
    as_layout: Literal[7] | UnsetType = UNSET
    as_device: Device | UnsetType = UNSET
    as_bool: bool | UnsetType = UNSET
    as_bools: list[bool] | UnsetType = UNSET
    as_sym_bool: SymBoolName | UnsetType = UNSET
    as_sym_bools: list[SymBoolName] | UnsetType = UNSET
    as_sym_float: SymFloatName | UnsetType = UNSET
    as_sym_floats: list[SymFloatName] | UnsetType = UNSET
    as_optional_tensor: OptionalTensor | UnsetType = UNSET
    as_optional_tensors: list[OptionalTensor] | UnsetType = UNSET
    as_nested_tensors: list[list[TensorName]] | UnsetType = UNSET
    as_int_lists: list[list[Int]] | UnsetType = UNSET
    as_float_lists: list[list[Float]] | UnsetType = UNSET
    as_graph: SubGraph | UnsetType = UNSET


class NamedArgument(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_]{0,64}\Z")]
    arg: Argument
    kind: Literal[0, 1, 2] | None = None


class Node(msgspec.Struct):
    target: str
    inputs: list[NamedArgument]
    outputs: list[Argument]
    metadata: Any = None
    is_hop_single_tensor_return: bool | None = None
    name: Identifier | None = None

    def __post_init__(self) -> None:
        operator = _ATEN.match(self.target)
        if self.target not in _PLAIN and (not operator or operator[1] in _ATEN_REFUSED):
            raise ValueError(f"the operator {self.target[:120]!r} is not accepted; only ATen operators are")
        # Stack traces of the person who exported it; torch resolves names in it.
        self.metadata = {}


class CustomObject(msgspec.Struct):
    """Never filled: the dictionary below must be empty."""


class Graph(msgspec.Struct):
    inputs: list[Argument]
    outputs: list[Argument]
    nodes: Annotated[list[Node], msgspec.Meta(max_length=200_000)]
    tensor_values: dict[Identifier, TensorMeta]
    sym_int_values: dict[Identifier, SymInt]
    sym_bool_values: dict[Identifier, SymBool]
    is_single_tensor_return: bool = False
    custom_obj_values: Annotated[dict[str, CustomObject], msgspec.Meta(max_length=0)] = {}
    sym_float_values: dict[Identifier, SymFloat] = {}


class UserInput(msgspec.Struct):
    arg: Argument


class Parameter(msgspec.Struct):
    arg: TensorName
    parameter_name: Qualified


class Buffer(msgspec.Struct):
    arg: TensorName
    buffer_name: Qualified
    persistent: bool


class TensorConstant(msgspec.Struct):
    arg: TensorName
    tensor_constant_name: Qualified


class ConstantValue(Union):
    as_none: bool | UnsetType = UNSET
    as_int: Int | UnsetType = UNSET
    as_float: Float | UnsetType = UNSET
    as_string: Words | UnsetType = UNSET
    as_bool: bool | UnsetType = UNSET


class ConstantInput(msgspec.Struct):
    name: Identifier
    value: ConstantValue


class InputSpec(Union):
    user_input: UserInput | UnsetType = UNSET
    parameter: Parameter | UnsetType = UNSET
    buffer: Buffer | UnsetType = UNSET
    tensor_constant: TensorConstant | UnsetType = UNSET
    constant_input: ConstantInput | UnsetType = UNSET


class OutputSpec(Union):
    """Only what a model answers: one that changes its own buffers has a state, and is not a policy card's policy."""

    user_output: UserInput | UnsetType = UNSET


class Signature(msgspec.Struct):
    input_specs: list[InputSpec]
    output_specs: list[OutputSpec]


class TreeSpec(msgspec.Struct):
    """How arguments nest: tuples, lists and dictionaries with names as keys."""

    type: Literal["builtins.tuple", "builtins.list", "builtins.dict"] | None
    context: str | None
    children_spec: Annotated[list["TreeSpec"], msgspec.Meta(max_length=4096)]

    def __post_init__(self) -> None:
        if self.type == "builtins.dict":
            msgspec.json.decode(self.context or "", type=list[Identifier])
        elif self.context not in {None, "null"}:
            raise ValueError(f"the tree context {str(self.context)[:80]!r} is not accepted")


class CallSignature(msgspec.Struct):
    inputs: list[Argument]
    outputs: list[Argument]
    in_spec: str
    out_spec: str
    forward_arg_names: list[Identifier] | None = None

    def __post_init__(self) -> None:
        # Read and written anew, so that torch reads what was checked.
        kind = tuple[Literal[1], TreeSpec]
        self.in_spec = msgspec.json.encode(msgspec.json.decode(self.in_spec, type=kind)).decode()
        self.out_spec = msgspec.json.encode(msgspec.json.decode(self.out_spec, type=kind)).decode()


class CallEntry(msgspec.Struct):
    fqn: str
    signature: CallSignature | None = None


class GraphModule(msgspec.Struct):
    graph: Graph
    signature: Signature
    module_call_graph: Annotated[list[CallEntry], msgspec.Meta(min_length=1)]
    metadata: Any = None
    treespec_namedtuple_fields: Any = None

    def __post_init__(self) -> None:
        # The first entry is the model itself; the others only help to rebuild its Python classes.
        self.module_call_graph = self.module_call_graph[:1]
        if self.module_call_graph[0].fqn or not self.module_call_graph[0].signature:
            raise ValueError("the program does not say how it is called")
        self.metadata, self.treespec_namedtuple_fields = {}, {}


class RangeConstraint(msgspec.Struct):
    min_val: Int | None
    max_val: Int | None


class SchemaVersion(msgspec.Struct):
    major: Literal[8]
    minor: Annotated[int, msgspec.Meta(ge=0, le=1000)]


class Program(msgspec.Struct):
    graph_module: GraphModule
    opset_version: dict[Literal["aten"], Annotated[int, msgspec.Meta(ge=1, le=1000)]]
    range_constraints: dict[Symbol, RangeConstraint]
    schema_version: SchemaVersion
    verifiers: list[Literal["TRAINING", "ATEN", ""]] = []
    torch_version: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9.+<= -]{0,64}\Z")] = ""
    guards_code: Any = None

    def __post_init__(self) -> None:
        # Python source, which torch would execute.
        self.guards_code = []


class Payload(msgspec.Struct):
    """Where one weight lies: raw numbers, never a pickle."""

    path_name: Annotated[str, msgspec.Meta(pattern=r"^(weight|tensor)_[0-9]{1,6}\Z")]
    is_param: bool
    use_pickle: Literal[False]
    tensor_meta: TensorMeta


class Payloads(msgspec.Struct):
    config: Annotated[dict[Qualified, Payload], msgspec.Meta(max_length=200_000)]
