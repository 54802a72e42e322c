"""Which sentences of the source a person may read, as the catalogue `sentences` has them (fleet.sentences).

Nothing in the domain is marked: what reads like words there is taken, out of the rooms whose words come onto pages.

1. A string, or an f-string with `{0}`, `{1}` for its values (`{0:n}` for a number), of at least two words. What a
   condition chooses between is written out: `{0} device` and `{0} devices` are two sentences.
2. A single word that stands for itself: members of enumerations, labels, and what an f-string may have in a place.
3. What is counted in words: `plural(n, "device")`, and `n|plural:"device"` in a template.

Left out are docstrings, annotations, keys, patterns, and what goes to a log, a command line or a database.
"""

import ast
import re
import string
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

#: Folders and files below the checkout.
ROOMS = (
    *("fleet/accounts", "fleet/alerts", "fleet/audit", "fleet/catalog", "fleet/devices", "fleet/gateway/limits.py"),
    *("fleet/inference", "fleet/jobs", "fleet/optimizer", "fleet/planner", "fleet/rollouts", "fleet/search"),
    *("fleet/text.py", "fleet/trust", "agent/child.py", "agent/deployment", "agent/device", "agent/inference"),
    *("agent/link/commands.py", "agent/link/enrollment.py", "agent/wire"),
)
#: In these, words are for programs on a device or on this server, for a log or a command line.
NOT_FOR_PAGES = {
    *("migrations", "management", "act.py", "bounded_socket.py", "endpoint.py", "host.py", "http_message.py"),
    *("http_server.py", "local_api.py", "logins.py", "metrics.py", "open_inference.py", "serving.py"),
}
#: How long something takes (fleet.units), lists, and what else is put together word by word.
COMPOSED = (
    *("{0:n} s", "{0:n} min", "{0:n} min {1:n} s", "{0:n} h", "{0:n} h {1:n} min", "{0:n} d", "{0:n} d {1:n} h"),
    *("{0} ago", "{0}, {1}", "{0} and {1}", "{0}: {1}", "{0}; {1}", "{0} ({1})", "{0} ({1}, {2})", "{0} {1:n}", "{0}."),
    # A job, and a rule.
    *("{0} succeeded", "{0} failed", "{0} canceled", "{0} above {1}", "{0} below {1}", "{0} for {1}"),
    *("{0} above {1} for {2}", "{0} below {1} for {2}"),
    # The rules that are there from the start (fleet/alerts/migrations), where they are no sentences otherwise.
    *("Too slow", "Too hot", "Disk almost full", "Memory almost full", "Answers that are no number"),
    *("Decisions fail", "Update rolled back", "Clock ahead", "Gateway stopped", "Messages to devices wait"),
    # A variant, and a candidate's name (fleet.optimizer.recipe).
    *("{0} {1} ({2})", "original", "{0:n} cut", "{0:n} zeros", "low rank", "int8 storage", "fp16 storage"),
    # A rollout that nobody needs (fleet.rollouts.judging.refusal).
    *("Every device in {0} already runs it.", "Every one of the {0} already runs it."),
    # Budgets of a decision: “computing” is one of the planner's labels, too, and means another thing there.
    *("preprocessing {0:n} ms", "computing {0:n} ms", "a decision {0:n} ms", "network {0:n} Mbit/s"),
    *("computing {0:n} ms at most", "a decision {0:n} ms at most", "computing as by default"),
    # Single words of the wire and of stored rows.
    *("measured", "estimated", "assumed", "stated", "reported", "declared", "e-mail", "warn", "storage", "camera"),
    *("queue", "preprocess", "compute", "postprocess", "network", "decision", "sample", "link", "cut", "distilled"),
    *("ping", "benchmark", "reoptimize", "goal", "budget", "balanced", "realtime", "accuracy", "brief", "quick"),
    *("compression", "bits", "pruning", "evaluator", "weights", "parts", "max success loss", "max latency ms"),
    *("max bytes", "max memory bytes", "device class", "model", "server", "slim variant", "preprocessing", "sensors"),
    *("accelerators", "renamed", "deleted", "everything"),
)
#: Calls whose words no page shows.
_SILENT = {"add_argument", "ArgumentParser", "compile", "execute", "getLogger", "print", "RunSQL", "fullmatch", "match"}
#: Calls that give a number, or a number of percent.
_COUNTING = {"len", "_percent"}
_KEYED = {"filter", "get", "getattr", "order_by", "pop", "setattr", "setdefault", "values", "values_list"}
_SILENT_NAMES = {"db_comment", "help_text", "related_name", "verbose_name"}
_LOG = {"debug", "info", "warning", "error", "exception", "critical", "log"}
_COUNTED = re.compile(r'(?:\|plural:|% pager [\w.]+ )"([^"]+)"')
_PLACE = re.compile(r"(?:\{\d+(?::n)?\})+")
_TECHNICAL = re.compile(
    r"^[<-]|%[sdr]|%\.\d|%\(|\b(SELECT|UPDATE|PRAGMA|INSERT|CREATE)\b|\w=\{|\w\((?!s\))|[\[|]\w|^\w+/[\w/{}]+$"
)
_PROSE = re.compile(r"(?:^|[\s“(,.;:])[A-Za-z][a-z'-]*[a-z](?=$|[\s,.;:?!)”])")
_NUMERIC = re.compile(r"[,+]?\d*,?(\.\d+)?[dfg%]?")
_ONE_WORD = re.compile(r"[A-Za-z][a-z]{2,}(?:-[a-z]+)?")

#: A sentence, and the files that it stands in.
Found = dict[str, set[str]]


def gathered(root: Path) -> Found:
    """Every sentence below `root`, with the places where it stands."""
    found: Found = {sentence: {"fleet/dashboard/gathering.py"} for sentence in COMPOSED}
    for path in _files(root):
        for sentence in sentences(path.read_text()):
            found.setdefault(sentence, set()).add(str(path.relative_to(root)))
    counting = [*(root / "fleet").rglob("*.py"), *(root / "templates").rglob("*.html")]
    for path in sorted(counting):
        for sentence in counted(path):
            found.setdefault(sentence, set()).add(str(path.relative_to(root)))
    return found


def _files(root: Path) -> Iterator[Path]:
    for room in ROOMS:
        for path in [root / room] if room.endswith(".py") else sorted((root / room).rglob("*.py")):
            if not set(path.relative_to(root).parts) & NOT_FOR_PAGES:
                yield path


def sentences(source: str) -> list[str]:
    """Of one module, in its order."""
    reader = _Reader()
    reader.visit(ast.parse(source))
    return list(dict.fromkeys(reader.found))


def counted(path: Path) -> Iterator[str]:
    text = path.read_text()
    for words in _COUNTED.findall(text) if path.suffix == ".html" else _plurals(text):
        one, _, many = words.partition(",")
        yield from (f"{{0:n}} {one}", f"{{0:n}} {many or one + 's'}")


def _plurals(source: str) -> Iterator[str]:
    if "plural(" not in source:
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _called(node) == "plural":
            words = [each.value for each in node.args[1:] if isinstance(each, ast.Constant)]
            if words:
                yield ",".join(words)


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


class _Reader(ast.NodeVisitor):
    """Walks a module and keeps what reads like words."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._depth = 0

    def visit_Call(self, node: ast.Call) -> None:
        name = _called(node)
        of = node.func.value if isinstance(node.func, ast.Attribute) else None
        if name in _SILENT or (name in _LOG and isinstance(of, ast.Name) and of.id in ("log", "logging")):
            return
        if name not in _KEYED:
            self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg not in _SILENT_NAMES:
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        """Pairs of a key and its label, as choices have them."""
        if self._depth == 0 and all(isinstance(each, ast.Name) and each.id.isupper() for each in node.targets):
            for pair in ast.walk(node.value):
                if isinstance(pair, ast.Tuple) and len(pair.elts) == 2:
                    self._words(pair.elts[1])
        self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._depth += 1
        for each in (*node.decorator_list, *node.args.defaults, *node.args.kw_defaults, *_spoken(node.body)):
            if each is not None:
                self.visit(each)
        self._depth -= 1

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        words = any(isinstance(base, ast.Name) and base.id.endswith(("Enum", "Choices")) for base in node.bases)
        for each in _spoken(node.body):
            if words and isinstance(each, ast.Assign):
                self._member(each)
            self.visit(each)

    def visit_Module(self, node: ast.Module) -> None:
        for each in _spoken(node.body):
            self.visit(each)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Dict(self, node: ast.Dict) -> None:
        for value in node.values:
            self.visit(value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            text = _begun(_numbered(node.value))
            label = self._depth == 0 and node.value[:1].isupper() and _ONE_WORD.fullmatch(node.value)
            if label or reads_like_words(text):
                self.found.append(text)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        for text in _written_out(node):
            if reads_like_words(text):
                self.found.append(_begun(text))
        for value in node.values:
            if isinstance(value, ast.FormattedValue) and len(_ends(value)) == 1:
                self._chosen(value.value)
                self.visit(value.value)

    def _chosen(self, node: ast.expr) -> None:
        """Words that a place of an f-string may have: `{words or 'nothing'}`."""
        if isinstance(node, ast.BoolOp):
            for each in node.values:
                self._words(each)
        elif isinstance(node, ast.IfExp):
            for each in (node.body, node.orelse):
                self._words(each)

    def _words(self, node: ast.expr) -> None:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value.replace("_", " ")
            if re.fullmatch(r"[A-Za-z][a-z]{2,}([ -][a-z]+)*", text):
                self.found.append(text)

    def _member(self, node: ast.Assign) -> None:
        """A member of an enumeration: its text, or its name where that is a number."""
        self._words(node.value)
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, int):
            self._words(ast.Constant(ast.unparse(node.targets[0]).lower()))


def _spoken(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements without docstrings."""
    for each in body:
        if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)):
            yield each


def _begun(text: str) -> str:
    """A sentence that is put behind another one, without the space between them: they are read one by one."""
    return text[1:] if re.match(r" [A-Z]", text) else text


def _numbered(text: str) -> str:
    """The places of `str.format` by their number, as those of an f-string; text with other braces as it is."""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        return text
    if all(name is None for _, name, _, _ in parts):
        return text
    made, number = "", 0
    for literal, name, _, _ in parts:
        made += literal
        if name is not None:
            made += f"{{{number}}}"
            number += 1
    return made


def _written_out(node: ast.JoinedStr) -> list[str]:
    """The f-string with its places numbered, once for each way in which its conditions can end."""
    ways: list[list[str | None]] = []
    for value in node.values:
        if isinstance(value, ast.Constant):
            ways.append([value.value])
        elif isinstance(value, ast.FormattedValue):
            ways.append(_ends(value))
    return [_joined(way) for way in product(*ways)]


_NUMBER = "{number}"


def _ends(value: ast.FormattedValue) -> list[str | None]:
    """The texts that a condition chooses between; else a place, None, or that of a number."""
    node = value.value
    if isinstance(node, ast.IfExp):
        ends = [each.value for each in (node.body, node.orelse) if isinstance(each, ast.Constant)]
        if len(ends) == 2 and all(isinstance(end, str) for end in ends):
            return list(ends)
    return [_NUMBER] if _is_number(value) else [None]


def _is_number(value: ast.FormattedValue) -> bool:
    if value.format_spec is None:
        return isinstance(value.value, ast.Call) and _called(value.value) in _COUNTING
    spec = value.format_spec.values if isinstance(value.format_spec, ast.JoinedStr) else []
    words = "".join(each.value if isinstance(each, ast.Constant) else "1" for each in spec)
    return bool(_NUMERIC.fullmatch(words))


def _joined(way: Iterable[str | None]) -> str:
    """Places beside each other are one: nothing says where the first of them ends."""
    text, number = "", 0
    for part in way:
        if part is not None and part is not _NUMBER:
            text += part
            continue
        before = re.search(r"\{\d+(?::n)?\}$", text)
        if before:
            text = text[: before.start()] + before[0].replace(":n", "")
            continue
        text += f"{{{number}:n}}" if part is _NUMBER else f"{{{number}}}"
        number += 1
    return text


def reads_like_words(text: str) -> bool:
    """Two words at least, a place counting as one of them."""
    if _TECHNICAL.search(text) or not _PROSE.search(_PLACE.sub("§", text)):
        return False
    return len(_PLACE.sub("§", text).split()) > 1
