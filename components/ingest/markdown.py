"""Markdown to records: one a section, named by its headings from the top; fenced code never starts a section."""

import os
import re
from collections.abc import Iterator

from components.ingest.prose import clean
from components.ingest.records import Record, Skipped

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)$")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_MARKS = re.compile(r"\[([^\]]*)\]\([^)]*\)|[`*]|\s*\[\[.*?\]\]|\s*\{#.*?\}")


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
    """Sections with a text of their own, in order (CommonMark ATX headings and fences)."""
    lines = text.splitlines()
    stack: list[tuple[int, str]] = []
    fence, start = "", 1
    for number, line in enumerate([*lines, "# "], 1):
        if mark := _FENCE.match(line):
            if not fence:
                fence = mark[1]
            elif mark[1][0] == fence[0] and len(mark[1]) >= len(fence) and not mark[2].strip():
                fence = ""
        heading = None if fence and number <= len(lines) else _HEADING.match(line)
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
    doc = clean(_COMMENT.sub("", "\n".join(body))).strip()
    if not doc:
        return None
    name = " > ".join(title for _, title in stack) or path
    return Record(path, name, "section", "", doc, "", start, max(start, end))
