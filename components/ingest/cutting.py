"""Records to pieces that fit the window. Runs in the worker processes, beside the reading."""

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from components.common.prose import summary, words
from components.common.records import Record, Skipped, mended_record
from components.common.window import TokenWindow, break_at
from components.ingest.markdown import read_markdown
from components.ingest.python_source import read_python

_HEADER_SIGNATURE = 240
_BODY_CHARS = 1400
MAX_PARTS = 64
"""Most passages that one docstring, section or issue may become."""
_STEM = re.compile(r"\.(?:py|pyi|md|mdx|markdown)$")


class Piece(NamedTuple):
    """What one passage holds of its record's documentation and code; ``n_tokens`` includes special tokens."""

    doc: str
    body: str
    n_tokens: int


class Cut(NamedTuple):
    """A record (its documentation and code now in ``pieces``), a digest of its content, and what its passages share.

    ``headers``: what the first passage starts with, and what those after it start with.
    """

    record: Record
    content: bytes
    headers: tuple[str, str]
    summary: str
    pieces: list[Piece]


class ReadingTask(NamedTuple):
    """A worker's share: files of one kind below ``root``, and how to read and cut them."""

    markdown: bool
    root: str
    paths: list[str]
    undocumented_min_lines: int
    tokenizer: str
    max_tokens: int


def read_and_cut(task: ReadingTask) -> tuple[list[Cut], list[Skipped], int]:
    """Read a task's files: cut records, files that could not be read, bytes read."""
    if task.markdown:
        records, skipped, size = read_markdown(task.root, task.paths)
    else:
        records, skipped, size = read_python(task.root, task.paths, task.undocumented_min_lines)
    return cut_all(records, _window(task.tokenizer, task.max_tokens)), skipped, size


@lru_cache(maxsize=1)
def _window(tokenizer: str, max_tokens: int) -> TokenWindow:
    return TokenWindow(tokenizer, max_tokens)


def cut_all(records: list[Record], window: TokenWindow) -> list[Cut]:
    """Cut every record, in order."""
    records = [mended_record(record) for record in records]
    tops = [headers(r) for r in records]
    window.learn(f"{top[0]} {r.doc} {r.body[:_BODY_CHARS]}" for top, r in zip(tops, records, strict=True))
    out = []
    for top, record in zip(tops, records, strict=True):
        content = "\0".join((record.name, record.signature, record.doc, record.body)).encode(errors="replace")
        pieces = list(cut(record, top, window))
        light = record._replace(doc="", body="")
        out.append(Cut(light, hashlib.blake2b(content, digest_size=16).digest(), top, summary(record.doc), pieces))
    return out


def headers(record: Record) -> tuple[str, str]:
    """What a record's first part and its further parts start with: module words, the name in words and as written.

    People ask in words, and wordpieces of ``temperaturelogitswarper`` say little, so the name stands in both forms. The
    signature (trimmed) stands in the first part only: further parts keep their room for documentation.
    """
    if record.kind in ("commit", "issue"):
        return (_trim(record.signature, _HEADER_SIGNATURE),) * 2
    module = words(_STEM.sub("", record.path))
    if record.kind == "section":
        return (_trim(f"{module}: {record.name}", _HEADER_SIGNATURE),) * 2
    top, signature = _trim(f"{module}: {words(record.name)}", 160), _trim(record.signature, _HEADER_SIGNATURE)
    further = f"{top}\n{record.name[:100]}"
    return f"{further if '.' in record.name else top}\n{signature}", further


def _trim(text: str, size: int) -> str:
    return text if len(text) <= size else text[:size].rsplit(" ", 1)[0]


def cut(record: Record, tops: tuple[str, str], window: TokenWindow) -> Iterator[Piece]:
    """Pieces of one record, the first under the first of the headers ``tops``, the others under the second.

    Documentation longer than the window continues in further pieces. Code fills what room is left behind the
    documentation's end; its tail is not indexed, which bounds the number of passages.
    """
    rest = record.doc
    for part in range(MAX_PARTS):
        spent = window.count(tops[part > 0] + "\n")
        room = max(window.room - spent, 1)
        head = rest[: room * 8]
        size, used = window.fit(head, room)
        if head and not size:  # one word longer than the window: a wordpiece holds a character or more, so this fits
            size, used = min(len(head), room), room
        whole = size >= len(rest)
        doc = rest if whole else rest[: break_at(rest, size)].strip("\n").rstrip()
        if not whole:
            used = window.count(doc)
            rest = rest[break_at(rest, size) :]
            rest = rest.lstrip("\n") if rest.startswith("\n") else rest.lstrip(" ")  # keep an entry's indentation
        body, left = "", room - used - (window.count("\n") if record.doc else 0)
        if whole and record.body and left > 0:
            size, more = window.fit(record.body[: left * 8], left)
            body, used = record.body[:size].rstrip(), used + more
        yield Piece(doc, body, min(spent + used, window.room) + window.special)
        if whole or not rest.strip():
            return
