"""Markdown to records: one a section, named by its headings from the top; code and HTML never start a section."""

import os
import re
from collections.abc import Iterator

from components.common.prose import clean
from components.common.records import Record, Skipped

_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})(.*)$")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_MARKS = re.compile(r"\[([^\]]*)\]\([^)]*\)|[`*]|\s*\[\[.*?\]\]|\s*\{#.*?\}")
_LINE_END = re.compile(r"\r\n|\n|\r")  # not splitlines(), which also counts form feeds and signs that end no line
_RAW = re.compile(r" {0,3}<(pre|script|style|textarea)(?=[\s>]|$)", re.IGNORECASE)
_BLOCK = re.compile(
    r" {0,3}</?(?:address|article|aside|blockquote|body|center|dd|details|dialog|div|dl|dt|fieldset|figcaption|figure|"
    r"footer|form|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu|nav|ol|p|param|section|summary|table|"
    r"tbody|td|tfoot|th|thead|title|tr|ul)(?=[\s/>]|$)",
    re.IGNORECASE,
)
"""HTML blocks (CommonMark 0.31, 4.6): the first kind ends at its closing tag, the other at a blank line."""
_EMPTY_COMMENT = re.compile("<!---?>")
_HIDDEN = re.compile(
    r" {0,3}\[(?://|comment|_+)[^\]]*\]:\s*(?:#|<>)|\s*\{/\*.*\*/\}\s*$|\s*<(?:\?|![A-Za-z\[])[^>]*>\s*$"
)
"""Lines that no reader sees: ``[//]: # (a comment)``, MDX's ``{/* a comment */}``, ``<!DOCTYPE html>``."""
_SETTING = re.compile(r"[\s#\]})-]|$|[\w\"'.$ -]+[:=]")
"""How a line of front matter begins, which tells it from text between two thematic breaks."""
_PRE = re.compile(r"</?(?:pre|textarea)\b[^>]*>", re.IGNORECASE)


def read_markdown(root: str, paths: list[str]) -> tuple[list[Record], list[Skipped], int]:
    """Records of every file, the files that are not UTF-8 text, and bytes read."""
    records: list[Record] = []
    skipped: list[Skipped] = []
    total = 0
    for path in paths:
        try:
            with open(os.path.join(root, path), "rb") as stream:
                raw = stream.read()
            total += len(raw)
            records.extend(sections(raw.decode("utf-8-sig"), path))
        except UnicodeDecodeError as error:
            skipped.append(Skipped(path, f"not UTF-8 text: {error.reason} at byte {error.start}"))
        except OSError as error:
            skipped.append(Skipped(path, f"cannot be read ({error.strerror})"))
    return records, skipped, total


def sections(text: str, path: str) -> Iterator[Record]:
    """Sections with a text of their own, in order (CommonMark ATX headings); no front matter, no comments in them."""
    lines, stack, start = [], list[tuple[int, str]](), 1
    for number, (line, prose) in enumerate([*_visible(_LINE_END.split(text)), ("# ", True)], 1):
        lines.append(line)
        heading = _HEADING.match(line) if prose else None
        if heading is None:
            continue
        if record := _section(lines, path, stack, start, number - 1):
            yield record
        level = len(heading[1])
        stack = [entry for entry in stack if entry[0] < level]
        if title := _MARKS.sub(lambda m: m[1] or "", heading[2] or "").strip():
            stack.append((level, title))
        start = number


def _section(lines: list[str], path: str, stack: list[tuple[int, str]], start: int, end: int) -> Record | None:
    body = lines[start:end] if stack and start >= 1 and _HEADING.match(lines[start - 1]) else lines[start - 1 : end]
    doc = clean("\n".join(body)).strip()
    if not doc:
        return None
    name = " > ".join(title for _, title in stack) or path
    return Record(path, name, "section", "", doc, "", start, max(start, end))


def _visible(lines: list[str]) -> Iterator[tuple[str, bool]]:
    """Every line as a reader sees it ("" where it is hidden), and whether it may be a heading."""
    front, last_close = _front_matter(lines), max((n for n, line in enumerate(lines) if "-->" in line), default=-1)
    fence, raw, block, comment = "", "", False, False
    for number, line in enumerate(lines):
        if number < front:
            yield "", False
        elif fence:
            mark = _FENCE.match(line)
            if mark and mark[1][0] == fence[0] and len(mark[1]) >= len(fence) and not mark[2].strip():
                fence = ""
            yield line, False
        elif raw:
            yield _raw_line(raw, line), False
            raw = "" if f"</{raw}" in line.lower() else raw
        else:
            shown = line if comment else _EMPTY_COMMENT.sub("", line)
            line, comment = _without_comments(shown, comment, number < last_close)
            tag = _RAW.match(line)
            block = bool(line.strip()) and (block or bool(_BLOCK.match(line)))
            if mark := _FENCE.match(line):
                fence = mark[1]
            elif _HIDDEN.match(line):
                line = ""
            elif tag:
                raw = "" if f"</{tag[1].lower()}" in line.lower() else tag[1].lower()
                line = _raw_line(tag[1].lower(), line)
            yield line, not (fence or raw or block or comment or tag)


def _raw_line(tag: str, line: str) -> str:
    return _PRE.sub("", line) if tag in ("pre", "textarea") else ""


def _without_comments(line: str, open_: bool, closes_later: bool) -> tuple[str, bool]:
    """The line without its comments, and whether one goes on; ``<!--`` in inline code is none."""
    seen = ""
    while True:
        if open_:
            _, end, line = line.partition("-->")
            if not end:
                return seen, True
            open_ = False
        before, begin, rest = line.partition("<!--")
        if not begin:
            return seen + line, False
        seen += before
        closed = "-->" in rest or closes_later or not seen.strip()  # one that begins a line may stay open to the end
        if seen.count("`") % 2 or not closed:
            seen, line = seen + begin, rest
        else:
            line, open_ = rest, True


def _front_matter(lines: list[str]) -> int:
    """Number of lines of YAML or TOML before the text, with the marks around them."""
    mark = lines[0].rstrip() if lines else ""
    ends = {"---": ("---", "..."), "+++": ("+++",)}.get(mark, ())
    end = next((number for number, line in enumerate(lines[1:], 2) if line.rstrip() in ends), 0)
    return end if all(map(_SETTING.match, lines[1 : end - 1])) else 0
