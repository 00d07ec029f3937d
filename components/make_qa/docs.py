"""A docstring's (or section's) structure: prose sentences, and the entries of its parameter lists.

Reads Google style (and the one Hugging Face derives from it), Sphinx fields and numpydoc; code is skipped.
"""

import re
from typing import NamedTuple

from components.common.prose import sentences, squeeze

_HEADER = re.compile(r"\s*(?:#+\s*)?\**(?P<name>[A-Z][A-Za-z]*(?: [A-Za-z]+)?)\**\s*:{1,2}\s*$")
_UNDERLINE = re.compile(r"\s*[-=~]{3,}\s*$")
_ARGS = {
    "args",
    "arguments",
    "parameters",
    "params",
    "attributes",
    "keyword args",
    "keyword arguments",
    "kwargs",
    "inputs",
}
_PROSE = {"note", "notes", "warning", "warnings", "tip", "tips", "important", "description", "details"}
_ENTRY = re.compile(
    r"(?P<indent>\s*)(?:[-*] )?[`*]*(?P<name>[A-Za-z_]\w*)[`*]*\s?"
    r"(?P<type>\((?:[^()]|\([^()]*\))*\))?\s*:(?:\s+(?P<text>.*))?$"
)
_RETURNED = re.compile(r"\s*(?:`[^`]*`|[A-Za-z_][\w.\[\], |]{0,60}):\s+(?P<text>\w.*)$")
_SPHINX = re.compile(r"(?P<indent>\s*):(?:param|parameter|arg)\s+(?:\S+\s+)?(?P<name>\w+)\s*:\s*(?P<text>.*)$")
_NUMPY = re.compile(r"(?P<indent>\s*)(?P<name>[A-Za-z_]\w*)\s*(?:,\s*\w+)*(?:\s+:\s*.*)?$")
_BULLET = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+")


class DocEntry(NamedTuple):
    """A parameter and its description, squeezed to one line."""

    name: str
    text: str


class Doc(NamedTuple):
    """``sentences``: prose in order, a line each; ``entries``: parameters in order; ``returned``: what comes back."""

    sentences: list[str]
    entries: list[DocEntry]
    returned: str = ""


class _Parser:
    def __init__(self) -> None:
        self.paragraphs: list[list[str]] = [[]]
        self.entries: list[tuple[str, list[str]]] = []
        self.state = "prose"  # or args, numpy (arguments, numpydoc), returns, skip
        self.returned: list[str] = []
        self.indent, self.open = 0, False  # of the entry being read, and whether its first paragraph goes on
        self.code = False

    def feed(self, line: str, following: str) -> None:
        bare = line.strip()
        if bare.startswith(("```", "~~~")):
            self.code = not self.code
            self._end()
        elif self.code or _UNDERLINE.match(line):
            return
        elif not bare:
            self._end()
        elif self._header(line, following) or (self.state != "returns" and self._entry(line)):
            return
        elif self.state == "returns":
            self.returned.append(bare)
        elif self.entries and self.state != "prose" and len(line) - len(line.lstrip()) > self.indent:
            if self.open:
                self.entries[-1][1].append(bare)
        elif self.state == "prose" and not bare.startswith((">>>", "...", "|", "$", "!", "<", "@")):
            if _BULLET.match(line):
                self._end()
                bare = _BULLET.sub("", line)
            self.paragraphs[-1].append(bare)

    def _end(self) -> None:
        if self.open and self.entries and self.entries[-1][1]:
            self.open = False
        if self.paragraphs[-1]:
            self.paragraphs.append([])

    def _header(self, line: str, following: str) -> bool:
        numpy = bool(_UNDERLINE.match(following)) and following.strip()[0] == "-" and line.strip().istitle()
        match = _HEADER.match(f"{line}:" if numpy else line)
        if match is None:
            return False
        name = match["name"].lower()
        args = "numpy" if numpy else "args"
        kinds = {
            **dict.fromkeys(_ARGS, args),
            **dict.fromkeys(_PROSE, "prose"),
            "returns": "returns",
            "return": "returns",
        }
        self.state = kinds.get(name, "skip")
        self.indent, self.open = len(line) - len(line.lstrip()), False
        self._end()
        return True

    def _entry(self, line: str) -> bool:
        if match := _SPHINX.match(line):
            self.state = "args"
        elif self.state == "numpy":
            match = _NUMPY.match(line)
        else:
            match = _ENTRY.match(line)
            typed = match is not None and bool(match["type"]) and ("`" in match["type"] or "optional" in match["type"])
            if self.state != "args" and not (typed and self.state == "prose"):
                match = None
        if match is None:
            return False
        indent = len(match["indent"])
        if self.entries and self.open and indent > self.indent and self.state != "prose":
            return False  # a line inside the entry before it
        self.state = "args" if self.state == "prose" else self.state
        text = match.groupdict().get("text") or ""
        self.entries.append((match["name"], [text] if text else []))
        self.indent, self.open = indent, True
        return True


def parse(doc: str) -> Doc:
    """Split a docstring or a Markdown section. A piece that continues a list of parameters is understood as well."""
    parser = _Parser()
    lines = doc.split("\n")
    fences = [line.strip() for line in lines if line.strip().startswith(("```", "~~~"))]
    parser.code = len(fences) % 2 == 1 and fences[0] in ("```", "~~~")  # the piece starts amid an example
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        parser.feed(line, following)
    prose = [s for paragraph in parser.paragraphs for s in sentences(squeeze(" ".join(paragraph)))]
    entries = [DocEntry(name, squeeze(" ".join(text))) for name, text in parser.entries]
    match = _RETURNED.match(squeeze(" ".join(parser.returned)))
    return Doc(prose, [e for e in entries if e.text], match["text"] if match else "")
