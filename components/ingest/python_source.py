"""Python source to records, by ``ast`` alone: nothing is imported, no code runs."""

import ast
import contextlib
import gc
import inspect
import io
import os
import re
import sys
import tokenize
import warnings
from collections.abc import Iterator, Sequence

from components.common.prose import clean, squeeze
from components.common.records import Record, Skipped

_BODY_CHARS = 1400
_SIGNATURE_CHARS = 400
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_BLOCKS = (
    ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match,
    ast.ExceptHandler, ast.match_case,
)  # fmt: skip
_FROM_3_12 = re.compile(r"\s*(?:(?:async\s+)?def\s+\w+\s*\[|class\s+\w+\s*\[|type\s+\w+\s*(?:\[.*\])?\s*=[^=])")
_FROM_3_14 = re.compile(r"[^#'\"]*\b(?:t|tr|rt)(?=['\"])")
_EXCEPT = re.compile(r"\s*except\b\s*(\*?)([\w., ]+):")
_FROM_3_15 = re.compile(r"\s*lazy\s+(?:import|from)\b")
_PYTHON_2 = re.compile(
    r"\s*(?:print|exec)\s+[^\s=(]|\braise\s+[\w.]+\s*,|<>|\b0\d|\b\d+[lL]\b|\bur['\"]|`|\bexcept\b[^:]*,"
)
_SAID_OF_PYTHON_2 = ("arameters cannot be parenthesized", "Missing parentheses in call to")
_LINES, _SIGNS = 40, 4000
"""How much behind an error is looked at: a stranger's line may be a megabyte long."""
_FORMATTED = re.compile(r"(?i)(?<![\w'\"])(?:f|fr|rf)(\"\"\"|'''|\"|')")


def read_python(root: str, paths: list[str], undocumented_min_lines: int) -> tuple[list[Record], list[Skipped], int]:
    """Records of every file, the files that could not be parsed, and bytes read. Runs in a worker process."""
    records: list[Record] = []
    skipped: list[Skipped] = []
    total = 0
    collecting = gc.isenabled()
    gc.disable()  # syntax trees hold no cycles, and collecting amid millions of young nodes costs a third of the time
    try:
        for path in paths:
            text = ""
            try:
                with open(os.path.join(root, path), "rb") as stream:
                    raw = stream.read()
                total += len(raw)
                text = decode(raw)
                records.extend(parse(text, path, undocumented_min_lines))
            except (SyntaxError, ValueError, LookupError) as error:
                skipped.append(Skipped(path, why_not(error, text)))
            except (RecursionError, MemoryError):
                skipped.append(Skipped(path, "nested too deeply to parse"))
            except OSError as error:
                skipped.append(Skipped(path, f"cannot be read ({error.strerror})"))
    finally:
        if collecting:
            gc.enable()
    return records, skipped, total


def decode(raw: bytes) -> str:
    """Text of a source file, in UTF-8 or the encoding it declares (PEP 263); SyntaxError or ValueError if broken."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
        text = raw.decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def parse(text: str, path: str, undocumented_min_lines: int) -> Iterator[Record]:
    """Records of one file, in the order of its lines."""
    if "def " not in text and "class " not in text:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # "\d" in a string of someone else's code is not our concern
        warnings.simplefilter("ignore", DeprecationWarning)
        tree = ast.parse(text)
    # Not splitlines(): ast counts only \n, a form feed inside a string must not shift the lines.
    yield from _Reader(text.split("\n"), path, undocumented_min_lines).read(tree.body, "")


class _Reader:
    def __init__(self, lines: list[str], path: str, min_lines: int) -> None:
        self.lines, self.path, self.min_lines = lines, path, min_lines

    def read(self, body: Sequence[ast.AST], prefix: str) -> Iterator[Record]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if record := self.function(node, prefix):
                    yield record
            elif isinstance(node, ast.ClassDef):
                yield from self.klass(node, prefix)
            elif isinstance(node, _BLOCKS):
                for part in ("body", "handlers", "cases", "orelse", "finalbody"):
                    yield from self.read(getattr(node, part, ()), prefix)

    def function(self, node: _Function, prefix: str) -> Record | None:
        doc = documentation(node)
        if _overload(node) or (not doc and not self._worth(node)):
            return None
        kind = "method" if prefix else "function"
        return self._record(node, prefix, kind, self.signature(node), doc, self._code(node))

    def klass(self, node: ast.ClassDef, prefix: str) -> Iterator[Record]:
        init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        doc, borrowed = documentation(node), False
        if not doc and init is not None:
            doc = documentation(init)
            borrowed = bool(doc)
        if doc or self._worth(node):
            signature = self.signature(node)
            if init is not None:
                signature = squeeze(f"{signature} {self.signature(init)}")
            yield self._record(node, prefix, "class", signature, doc, self._members(node))
        members = [n for n in node.body if not (borrowed and n is init)]
        yield from self.read(members, f"{prefix}{node.name}.")

    def signature(self, node: _Function | ast.ClassDef) -> str:
        """The ``def`` or ``class`` header as written, on one line, without its colon."""
        first, last = node.body[0], _first_line(node.body[0])
        header = self.lines[node.lineno - 1 : last]
        if last == first.lineno:
            header[-1] = header[-1].encode()[: first.col_offset].decode(errors="ignore")
        else:
            header.pop()  # the line of a decorator
        header[0] = header[0].encode()[node.col_offset :].decode(errors="ignore")
        text = "\n".join(header)
        return squeeze(_without_comments(text) if "#" in text else text).rstrip(": ")[:_SIGNATURE_CHARS]

    def _record(
        self, node: _Function | ast.ClassDef, prefix: str, kind: str, signature: str, doc: str, body: str
    ) -> Record:
        start, end = _first_line(node), node.end_lineno or node.lineno
        return Record(self.path, prefix + node.name, kind, signature, doc, body, start, end)

    def _worth(self, node: _Function | ast.ClassDef) -> bool:
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        return not node.name.startswith("_") and lines >= self.min_lines

    def _code(self, node: _Function) -> str:
        """The function's statements, with the comments before them, without its docstring."""
        rest = node.body[1:] if _docstring(node) is not None else node.body
        if not rest:
            return ""
        first, last = _first_line(rest[0]), rest[-1].end_lineno or rest[-1].lineno
        while first > node.lineno + 1 and self.lines[first - 2].lstrip().startswith("#"):
            first -= 1
        return self._dedent(first, last, rest[0].col_offset)

    def _members(self, node: ast.ClassDef) -> str:
        """Fields as written, then the names of the public methods: what a class is made of, without their bodies."""
        fields, methods, size = [], [], 0
        for item in node.body:
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                if not item.name.startswith("_"):
                    methods.append(item.name)
            elif isinstance(item, ast.Assign | ast.AnnAssign) and size < _BODY_CHARS:
                fields.append(self._dedent(item.lineno, item.end_lineno or item.lineno, item.col_offset))
                size += len(fields[-1])
        if methods:
            fields.append("methods: " + ", ".join(dict.fromkeys(methods)))
        return "\n".join(fields)[:_BODY_CHARS]

    def _dedent(self, first: int, last: int, indent: int) -> str:
        out, size = [], 0
        for line in self.lines[first - 1 : last]:
            line = line[indent:] if line[:indent].isspace() else line.lstrip()
            out.append(line.rstrip())
            size += len(line) + 1
            if size > _BODY_CHARS:
                break
        return "\n".join(out)[:_BODY_CHARS]


def why_not(error: Exception, text: str) -> str:
    """Why a file with this text was not read: broken, Python 2, or for a newer Python than the one that runs here."""
    if not isinstance(error, SyntaxError):
        return f"not valid Python: {error}"
    lines = text.split("\n")[max((error.lineno or 1) - 1, 0) :][:_LINES] or [""]
    rest = "\n".join(lines)[:_SIGNS]
    line = rest.partition("\n")[0]
    if needed := first_python(line, rest, error.msg):
        here = ".".join(map(str, sys.version_info[:2]))
        return f"newer than this Python {here}: run under {needed} or later ({error})"
    old = _PYTHON_2.search(line) or any(said in error.msg for said in _SAID_OF_PYTHON_2)
    return f"not valid Python{', but Python 2' if old else ''}: {error}"


def first_python(line: str, rest: str, message: str) -> str:
    """The Python that first took ``line``, which ours refused with ``message``, where that is a later one; else "".

    ``rest``: the line and some after it. 3.12: type parameters (PEP 695), f-strings that hold their own quotes, line
    breaks, backslashes or comments (PEP 701). 3.13: defaults of type parameters (PEP 696). 3.14: t-strings (PEP 750),
    several exceptions without parentheses (PEP 758; ``except Error, e`` is Python 2). 3.15: ``lazy import`` (PEP 810),
    unpacking in comprehensions (PEP 798).
    """
    if _FROM_3_15.match(line) or "unpacking cannot be used in" in message:
        return "3.15"
    if _FROM_3_12.match(line):
        return "3.13" if _has_defaults(line) else "3.12"
    if "f-string expression part cannot include" in message or "f-string: expressions nested too deeply" in message:
        return "3.12"
    if any(_closes(rest, match.end(), match[1]) for match in _FORMATTED.finditer(line)):
        return "3.12"
    return "3.14" if _FROM_3_14.match(line) or _bare_exceptions(line) else ""


def _has_defaults(line: str) -> bool:
    """Do the type parameters of a header have defaults?"""
    depth = 0
    for sign in line[line.find("[") :] if "[" in line else "":
        depth += (sign in "[(") - (sign in "])")
        if depth == 0 or sign == "=":
            return sign == "="
    return False


def _bare_exceptions(line: str) -> bool:
    """Are several exceptions caught without parentheses, and not one of Python 2 with a name for it?"""
    found = _EXCEPT.match(line)
    names = [name.strip() for name in found[2].split(",")] if found else []
    return len(names) > 1 and bool(len(names) > 2 or found and found[1] or "." in names[-1] or names[-1][:1].isupper())


def _closes(text: str, at: int, quote: str) -> bool:
    """Does an f-string that goes on at ``at`` end by PEP 701 alone: with its own quote or a line break in a field?"""
    depth, new = 0, False
    while at < len(text):
        if text.startswith(quote, at):
            if depth == 0:
                return new
            end = text.find(quote, at + len(quote))
            if end < 0 or "\n" in text[at:end]:
                return False
            new, at = True, end + len(quote) - 1
        elif text[at] == "\n" and len(quote) == 1:
            if depth == 0:
                return False
            new = True
        elif text[at] == "#" and depth:
            at = text.find("\n", at) - 1 if "\n" in text[at:] else len(text)
        elif text[at] == "\\" and depth == 0:
            at += 1
        elif text[at] == "{":
            doubled = depth == 0 and text.startswith("{{", at)
            at, depth = at + doubled, depth + (not doubled)
        elif text[at] == "}" and depth:
            depth -= 1
        at += 1
    return False


def _without_comments(header: str) -> str:
    """A header without its comments; as it is where it cannot be told apart."""
    lines = header.split("\n")
    with contextlib.suppress(tokenize.TokenError, SyntaxError):
        for token in reversed(list(tokenize.generate_tokens(io.StringIO(header + "\n").readline))):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column]
    return "\n".join(lines)


def documentation(node: _Function | ast.ClassDef) -> str:
    """The docstring, cleaned; else prose given to a decorator (``@auto_docstring(custom_intro="…")``); else ""."""
    text = _docstring(node)
    if text is None:
        text = next(iter(_decorator_prose(node)), "")
    return clean(inspect.cleandoc(text)).strip()


def _docstring(node: _Function | ast.ClassDef) -> str | None:
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first.value.value
    return None


def _decorator_prose(node: _Function | ast.ClassDef) -> Iterator[str]:
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call):
            for value in (*decorator.args, *(k.value for k in decorator.keywords)):
                if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value.count(" ") >= 4:
                    yield value.value


def _overload(node: _Function) -> bool:
    return any(getattr(d, "id", getattr(d, "attr", "")) == "overload" for d in node.decorator_list)


def _first_line(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", None)
    return int(decorators[0].lineno) if decorators else node.lineno
