"""The one language that shape expressions of an uploaded program may be written in.

`torch.export.load` hands them to `sympy.sympify`, which evaluates Python. So an expression is read here first, by a
parser that knows sizes, sums, products and a few functions of them, and nothing else: what it accepts cannot be turned
into a call of anything, nor into a number that takes for ever to compute.
"""

import re

MAX_LENGTH = 4000
MAX_DEPTH = 24
#: Digits of an integer: those of a 63-bit size.
MAX_DIGITS = 19

#: `s40`: a size; `u0`: one that depends on data; the others are torch's floats and precomputed sizes.
SYMBOL = r"(?:s|u|zf|zuf|ps)[0-9]{1,5}"

_FUNCTION = re.compile(
    r"Add|Mul|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv|IntTrueDiv|FloatTrueDiv|ModularIndexing|Where|Identity"
    r"|CeilToInt|FloorToInt|TruncToInt|TruncToFloat|RoundToInt|ToFloat"
    r"|Equality|Unequality|GreaterThan|LessThan|StrictGreaterThan|StrictLessThan|And|Or|Not"
)
_TOKEN = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*|-?[0-9]+|'[^']*'|[(),=])")


class ExpressionError(ValueError):
    """An expression that this grammar does not have."""


def check(text: str) -> None:
    """Raises ExpressionError unless `text` is a size, or sympy's notation of arithmetic on sizes.

    Accepted: `s40`, `Symbol('s40', positive=True, integer=True)`, `Integer(8)`, `Mul(Integer(2), Symbol('s40'))`
    and the like; `Pow` with a whole exponent from −1 to 4.
    """
    if re.fullmatch(SYMBOL, text):
        return
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"a shape expression has {len(text)} characters, the limit is {MAX_LENGTH}")
    reader = _Reader(text)
    reader.expression(0)
    if reader.peek():
        raise reader.refuse()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[str] = []
        at = 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if not match:
                raise self.refuse()
            self._tokens.append(match[1])
            at = match.end()
        self._at = 0

    def peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.peek()
        if not token or (wanted and token != wanted):
            raise self.refuse()
        self._at += 1
        return token

    def refuse(self) -> ExpressionError:
        return ExpressionError(f"the shape expression {self._text[:120]!r} is not plain arithmetic on sizes")

    def expression(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self.refuse()
        name = self.take()
        if name == "Symbol":
            self._symbol()
        elif name in {"Integer", "Rational"}:
            self._numbers()
        elif name == "Pow":
            self._power(depth)
        elif _FUNCTION.fullmatch(name):
            self.take("(")
            self.expression(depth + 1)
            while self.peek() == ",":
                self.take()
                self.expression(depth + 1)
            self.take(")")
        else:
            raise self.refuse()

    def _symbol(self) -> None:
        self.take("(")
        if not re.fullmatch(f"'{SYMBOL}'", self.take()):
            raise self.refuse()
        while self.peek() == ",":
            self.take()
            if not re.fullmatch(r"[a-z]{1,20}", self.take()):
                raise self.refuse()
            self.take("=")
            if self.take() not in {"True", "False"}:
                raise self.refuse()
        self.take(")")

    def _numbers(self) -> list[int]:
        self.take("(")
        numbers = [self._number()]
        while self.peek() == ",":
            self.take()
            numbers.append(self._number())
        self.take(")")
        return numbers

    def _number(self) -> int:
        digits = self.take()
        if not re.fullmatch(rf"-?[0-9]{{1,{MAX_DIGITS}}}", digits):
            raise self.refuse()
        return int(digits)

    def _power(self, depth: int) -> None:
        self.take("(")
        self.expression(depth + 1)
        self.take(",")
        self.take("Integer")
        exponent = self._numbers()
        if len(exponent) != 1 or not -1 <= exponent[0] <= 4:
            raise self.refuse()
        self.take(")")
