import pytest

from fleet.optimizer.shape_grammar import ExpressionError, check


@pytest.mark.parametrize(
    "text",
    [
        "s40",
        "u0",
        "Symbol('s40', positive=True, integer=True)",
        "Integer(8)",
        "Add(Mul(Integer(2), Symbol('s40', positive=True, integer=True)), Integer(-1))",
        "FloorDiv(Symbol('s3'), Integer(2))",
        "Pow(Symbol('s40'), Integer(2))",
        "Max(Integer(1), Symbol('u12', integer=True))",
        "Equality(Symbol('s40'), Integer(4))",
    ],
)
def test_arithmetic_on_sizes_is_accepted(text):
    check(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "os",
        "__import__('os')",
        "s40.__class__",
        "Symbol('os')",
        "Symbol('s0', cls=int)",
        "Symbol('s0', a=Integer(1))",
        "Symbol('s40')()",
        "Integer(Integer(1))",
        "Integer(" + "9" * 20 + ")",
        "Pow(Integer(2), Integer(64))",
        "Pow(Integer(2), Symbol('s0'))",
        "Lambda(Symbol('s0'), Integer(1))",
        "sympify('1')",
        "Add(Integer(1), Integer(2)",
        "Add(Integer(1); Integer(2))",
        "Integer(1) if True else Integer(2)",
        "[x for x in ()]",
        "Add(" * 40 + "Integer(1)" + ")" * 40,
        "Add(Integer(1), " * 400 + "Integer(1)" + ")" * 400,
        "s123456",
        "s40\n",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ExpressionError):
        check(text)
